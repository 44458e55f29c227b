"""Tile programs to C, and C to loaded libraries."""
