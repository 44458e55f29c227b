"""Tile programs as Triton."""
