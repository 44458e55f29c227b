"""Which chains of kernels pay: on a CPU where the tensor between them leaves the cache and a tile of its rows does not."""

from __future__ import annotations

from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.target import Cpu, Target
from tcomp.passes.cost.cpu import LARGEST_ROWS, fits_registers
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import find_contraction, panel_of
from tcomp.passes.einsums.group import Group

LARGEST_HEAD = 256
"""Elements of a row of either operand that an instance on a GPU holds whole."""

SMALLEST_ROWS = 4
"""Rows of a tile below which the contractions would reload their right operands too often."""

PARTS_OF_CACHE = 4
"""The rows of a tile take at most one of so many parts of a core's cache (L2): operands pass through it as well."""


def wants_chain(chain: Group, target: Target) -> bool:
    """Whether three kernels are better one."""
    first, middle, last = chain.parts
    if not isinstance(target, Cpu):
        lanes = [r for r in last.outer if r.name not in {o.name for o in chain.outer}]
        return max(prod(typical(r.extent) for r in ranks) for ranks in (first.root.reduced, lanes)) <= LARGEST_HEAD
    row = find_row(chain, target)
    (scores,) = first.stored
    (writer,) = (e for e in first.members if e.name == scores)
    return row is not None and _pays(writer, row[1], middle.inner[0], target)


def find_row(chain: Group, target: Cpu) -> tuple[str, int] | None:
    """The rank of a chain's row tile and its size, a divisor of its extent; None if none fits registers."""
    first, middle, _ = chain.parts
    contraction = find_contraction(first.root, {})
    if contraction is None:
        return None
    panel = panel_of(contraction.right)
    lanes = target.lanes(compute_dtype(first.root.dtype))
    vectors = 1 if panel is None else -(-panel[1] // lanes)
    for rank in reversed(middle.outer):
        if rank.name not in {r.name for r in contraction.rows} or not rank.extent.is_constant:
            continue
        sizes = [s for s in range(SMALLEST_ROWS, LARGEST_ROWS + 1) if rank.extent.constant % s == 0]
        fitting = [s for s in sizes if fits_registers(s, vectors, target)]
        if fitting:
            return rank.name, fitting[-1]
    return None


def _pays(scores: Einsum, rows: int, inner: Rank, target: Cpu) -> bool:
    if not all(extent.is_constant for extent in scores.shape):
        return False
    size = scores.dtype.bytes * prod(extent.constant for extent in scores.shape)
    tile = rows * inner.extent.constant * scores.dtype.bytes
    return size > target.l2 // 2 and tile * PARTS_OF_CACHE <= target.l2
