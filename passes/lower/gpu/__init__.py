"""Lowerings of one kind of group for GPUs."""
