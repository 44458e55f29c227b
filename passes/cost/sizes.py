"""Sizes to plan with."""

from __future__ import annotations

from tcomp.ir.expressions import Index
from tcomp.ir.index import Bounds, interval

UNKNOWN_EXTENT = 128
"""What a symbolic extent without an upper bound is taken to be when tiles are chosen."""


def typical(extent: Index) -> int:
    """A size to plan with: the extent if static, else a guess within its range."""
    low, high = interval(extent, Bounds())
    if low is not None and low == high:
        return max(low, 1)
    return UNKNOWN_EXTENT if high is None else min(high, UNKNOWN_EXTENT)
