"""Ten real architectures with random weights."""
