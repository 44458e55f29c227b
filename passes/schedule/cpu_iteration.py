"""Lanes of iterations that cannot run along a rank all steps share: each member gets lanes of its own.

A step of a recurrent network is a product of a matrix and the state: `P[g] = sum(h) S[h] * W[g, h]`. Its lanes lie along the rank that
most operands walk by neighbours; if that is a reduced rank, a few rows share what they load of the state.
"""

from __future__ import annotations

from collections.abc import Callable

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.expressions import Index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.walk import loads
from tcomp.passes.bind.arguments import Bound, stride_along
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.iteration import merge_maps, own_ranks

LARGEST_ROWS = 4
"""Rows of a reduction's tile that share loads of the state."""


def needs_own_lanes(group: Group, extent: int, lanes: int) -> bool:
    """Whether vectors along a rank of the given extent, which all steps share, are worse than vectors along each member's ranks."""
    return extent < lanes and any(own_ranks(group, e) for e in group.members)


def tile_members(bound: Bound, width: Callable[[Index], int]) -> tuple[tuple[str, int], ...]:
    """A tile for the lanes of each member, after one for the rows of a reduction; `width` gives a tile's size for an extent."""
    tiles: dict[str, int] = {}
    for einsum in merge_maps(bound.group):
        lanes = _best_lanes(bound, einsum)
        if lanes is None or lanes.name in tiles:
            continue
        rows = [r for r in own_ranks(bound.group, einsum) if r.name not in tiles and r.extent.is_constant]
        if lanes in einsum.reduced and rows:
            heights = [d for d in range(2, LARGEST_ROWS + 1) if rows[-1].extent.constant % d == 0]
            tiles.update({rows[-1].name: heights[-1]} if heights else {})
        tiles[lanes.name] = width(lanes.extent)
    return tuple(tiles.items())


def _best_lanes(bound: Bound, einsum: Einsum) -> Rank | None:
    """The rank that most operands walk by neighbours: a free one, or a reduced one if partial results can be kept per lane."""
    own = own_ranks(bound.group, einsum)
    folds = einsum.reduce is not None and MONOIDS[einsum.reduce].arity == 1
    candidates = [r for r in (*own, *(einsum.reduced if folds else ())) if typical(r.extent) > 1]
    return max(candidates, key=lambda r: (_neighbours(bound, einsum, r.name), r in own, typical(r.extent)), default=None)


def _neighbours(bound: Bound, einsum: Einsum, rank: str) -> int:
    """How many accesses walk a rank by neighbours, less those that make steps; in buffers the last dimension is neighbours."""
    score = 1 if einsum.index[-1].as_variable == rank else 0
    for load in loads(einsum.expression):
        if load.tensor in bound.operands:
            step = stride_along(bound.operands[load.tensor], load.index, rank)
            score += (step == 1) - (step not in (0, 1))
    return score
