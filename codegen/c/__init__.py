"""Tile programs as C, compiled and linked."""
