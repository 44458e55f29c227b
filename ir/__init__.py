"""What is computed and how: the three values (cascade, schedule, tile program) and their meaning."""
