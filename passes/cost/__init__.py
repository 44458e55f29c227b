"""What things cost on a machine."""
