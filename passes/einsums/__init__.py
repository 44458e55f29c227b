"""What can be read off einsums and groups, and how they are changed as a whole."""
