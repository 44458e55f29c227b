"""Random PyTorch programs: what they are, what makes and changes them, and what must hold of them when they are compiled."""
