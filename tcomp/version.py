"""The version, told in one place; pyproject.toml has it again, and a test compares them."""

__version__ = "0.1.0"
