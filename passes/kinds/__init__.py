"""Kinds of kernels: a record each."""
