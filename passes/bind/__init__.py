"""Groups to memory: layouts, views, arguments."""
