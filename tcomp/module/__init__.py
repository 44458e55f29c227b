"""What a user holds: compiled modules, and the choice among their programs."""
