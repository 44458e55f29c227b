"""The tile of rows of a chain, which both of its contractions and the nest between them walk."""

from __future__ import annotations

from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.target import Cpu
from tcomp.passes.cost.cpu import LARGEST_ROWS, fits_registers
from tcomp.passes.einsums.contraction import contraction_of
from tcomp.passes.einsums.group import Group

SMALLEST_ROWS = 4
"""Rows of a tile below which the contractions would reload their right operands too often."""


def find_row(chain: Group, target: Cpu) -> tuple[str, int] | None:
    """The rank of a chain's row tile and its size, a divisor of its extent; None if none fits registers."""
    first, middle, _ = chain.parts
    contraction = contraction_of(first)
    panel = contraction.fact.panel
    lanes = target.lanes(compute_dtype(first.root.dtype))
    vectors = 1 if panel is None else -(-panel // lanes)
    for rank in reversed(middle.outer):
        if rank.name not in {r.name for r in contraction.rows} or not rank.extent.is_constant:
            continue
        sizes = [s for s in range(SMALLEST_ROWS, LARGEST_ROWS + 1) if rank.extent.constant % s == 0]
        fitting = [s for s in sizes if fits_registers(s, vectors, target)]
        if fitting:
            return rank.name, fitting[-1]
    return None
