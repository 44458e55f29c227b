"""Triton kernels run, on a GPU or interpreted."""
