"""Texts of cascades, schedules, tile programs, plans and targets, read back."""
