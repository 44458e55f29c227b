"""Groups and their schedules to tile programs; what all targets share lies flat."""
