"""What must hold of cascades, schedules, tile programs and plans."""
