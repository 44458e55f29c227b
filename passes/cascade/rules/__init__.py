"""Rewrite rules of expressions, as tables."""
