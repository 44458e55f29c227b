"""Operators in terms of others, before they are lowered."""
