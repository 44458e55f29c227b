"""ATen operators to einsums: one table, one small function an operator."""
