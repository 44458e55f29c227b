"""Functions of ours that generated Triton kernels call."""
