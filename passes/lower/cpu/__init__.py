"""Lowerings of one kind of group for CPUs."""
