"""Functions over the values of tcomp.ir, one pass a file."""
