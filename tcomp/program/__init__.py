"""A program as data."""
