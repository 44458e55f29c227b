"""What makes random cascades, machines and schedules."""
