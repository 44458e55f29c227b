"""The compilers that tcomp is compared with."""
