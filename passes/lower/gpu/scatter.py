"""Scatters on a GPU: the target is filled by a kernel of its own, then points are folded into it.

    Y: f32[Ids[i]:V, d:D] = sum(i:N) G[i, d] from T[_0, d]
      =>
    fill     Y[_0, d] = T[_0, d]                                            a map over the whole target
    scatter  parallel d.1 { for i in 0 .. N { Y[Ids[i], d] sum= G[i, d] } }      each instance owns lanes, and folds in order
    or       parallel point.1 { Y[Ids[i], d] atomic sum= G[i, d] }              all points at once, in any order

Points are taken at once where no order can show: their slots are plain indices that name each point, or an atomic merge gives the same
result in any order (whole numbers, bits), or the caller does not mind in which order floats are added.
"""

from __future__ import annotations

from tcomp.ir.cascade import Rank
from tcomp.ir.tile import Assign, TileStatement
from tcomp.passes.groups.scatter import names_points
from tcomp.passes.lower.lowering import Lowering, nest_loops, parallel_nest
from tcomp.passes.lower.scatter import inside_target


def lower_gpu_scatter(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Fold all points into a target that has been filled."""
    group, schedule = lowering.bound.group, lowering.schedule
    (einsum,) = group.members
    concurrent = {r.name for r in einsum.reduced} <= set(schedule.parallel)
    ranks: tuple[Rank, ...] = (*group.outer, *einsum.reduced) if concurrent else group.outer
    lowering.cut(ranks)
    serial = [] if concurrent else lowering.cut(einsum.reduced, tiled=False)
    axes = lowering.axes(r.name for r in ranks)
    slots = lowering.slots(einsum)
    merge = None if einsum.reduce in (None, "last") else einsum.reduce
    where = inside_target(lowering, einsum, slots)
    atomic = concurrent and merge is not None and not names_points(einsum)
    fold = Assign(einsum.name, slots, axes, lowering.expression(einsum.expression), merge, where=where, is_atomic=atomic)
    return parallel_nest(lowering, (r.name for r in ranks), nest_loops("for", serial, (fold,)))
