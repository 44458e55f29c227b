"""Which einsums share a kernel, and what they become together."""
