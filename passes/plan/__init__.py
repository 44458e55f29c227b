"""When tensors live, where they lie, and which may take another's place."""
