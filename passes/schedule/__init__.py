"""How each group is computed: tiles, order, lanes, warps."""
