"""What tells that something is wrong, and where."""
