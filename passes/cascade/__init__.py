"""Passes from cascade to cascade."""
