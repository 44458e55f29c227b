"""From a captured graph to a program: stages, their cascades, their libraries."""
