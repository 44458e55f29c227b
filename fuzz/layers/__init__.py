"""The kinds of seeds, each with what a campaign asks of it."""
