"""What cascades, tile programs and plans mean: numpy computes them, slowly."""
