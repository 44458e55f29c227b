"""What changes cascades, passes and schedules that there are."""
