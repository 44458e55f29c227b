"""The heuristics: everything that a schedule says, guessed from a cascade and a machine."""
