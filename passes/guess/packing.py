"""Which operands are packed: weights, and what is computed at run time if enough rows share it, in panels as wide as the best tile.

What has its lanes adjacent in memory already is not packed at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from tcomp.ir.cascade import Einsum, Symbol
from tcomp.ir.index import interval, is_data
from tcomp.ir.schedule import Packing
from tcomp.ir.target import Cpu
from tcomp.passes.cascade.operands import may_pack
from tcomp.passes.cost.cpu import lane_tile
from tcomp.passes.einsums.contraction import find_contraction, lane_position

ROWS_WORTH_PACKING = 12
"""Rows that must share an operand computed at run time before packing it pays: fewer are one tile, which reads each element once.
(Measured with 8 to 11 rows: 0.8 to 1.25 times the time of packing, 0.9 in the middle, and no memory for the copy.)"""


def choose_packing(einsum: Einsum, static: Mapping[str, bool], symbols: tuple[Symbol, ...], target: Cpu) -> Packing | None:
    """The lanes and the width of the panels of the right operand of a contraction; None if it stays as it lies."""
    contraction = find_contraction(einsum, static, packs=True)
    if contraction is None or not may_pack(contraction):
        return None
    right, lanes = contraction.right, contraction.lanes
    if not static.get(right.tensor, False):
        if any(map(is_data, right.index)):
            return None
        extents: list[int] = [interval(r.extent, einsum.bounds(symbols))[0] or 1 for r in contraction.rows]
        shared_by = prod(extents)
        is_adjacent = lane_position(right, lanes.name) == len(right.index) - 1
        if is_adjacent or (shared_by < ROWS_WORTH_PACKING and not symbols):
            return None
    return Packing(einsum.name, lanes.name, lane_tile(contraction, einsum, target))
