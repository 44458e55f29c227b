"""Which chains of kernels pay: on a CPU where the tensor between them leaves the cache and a tile of its rows does not."""

from __future__ import annotations

from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.target import Cpu, Target
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.group import Group
from tcomp.passes.schedule.rows import find_row

LARGEST_HEAD = 256
"""Elements of a row of either operand that an instance on a GPU holds whole."""

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


def _pays(scores: Einsum, rows: int, inner: Rank, target: Cpu) -> bool:
    if not all(extent.is_constant for extent in scores.shape):
        return False
    size = scores.dtype.bytes * prod(extent.constant for extent in scores.shape)
    tile = rows * inner.extent.constant * scores.dtype.bytes
    return size > target.l2 // 2 and tile * PARTS_OF_CACHE <= target.l2
