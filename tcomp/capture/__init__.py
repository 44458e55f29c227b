"""A module's Python becomes a graph of ATen operators."""
