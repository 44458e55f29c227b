"""Scatters: serial loops that fold every point into memory, parallel over the ranks that pass through."""

from __future__ import annotations

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import Expr, Index, Ordinal, apply, as_index, constant
from tcomp.ir.index import is_data, is_inside
from tcomp.ir.tile import Assign, TileStatement
from tcomp.passes.einsums.facts import initial_of
from tcomp.passes.lower.lowering import Lowering, nest_loops, parallel_nest


def lower_scatter(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower a scatter: the whole target gets its initial value, then every point is folded in, in order."""
    group = lowering.bound.group
    (einsum,) = group.members
    lowering.cut(group.outer)
    axes = lowering.axes(r.name for r in group.outer)
    places = [(p, rank) for p, (rank, i) in enumerate(zip(einsum.slot_ranks, einsum.index)) if i.as_variable is None]
    fill = lowering.cut((rank for _, rank in places), tiled=False)
    names = dict(places)
    whole = tuple(as_index(names[p].name) if p in names else lowering.place(i) for p, i in enumerate(einsum.index))
    first = Assign(einsum.name, whole, axes, lowering.expression(initial_of(einsum)))
    reduced = lowering.cut(einsum.reduced, tiled=False)
    slots = tuple(lowering.place(i) for i in einsum.index)
    merge = None if einsum.reduce in (None, "last") else einsum.reduce
    where = inside_target(lowering, einsum, slots)
    fold = Assign(einsum.name, slots, axes, lowering.expression(einsum.expression), merge=merge, where=where)
    body = (*nest_loops("for", fill, (first,)), *nest_loops("for", reduced, (fold,)))
    return parallel_nest(lowering, (r.name for r in group.outer), body)


def inside_target(lowering: Lowering, einsum: Einsum, slots: tuple[Index, ...]) -> Expr | None:
    """Whether a point is stored at all: those outside the target are dropped, and those the einsum does not want. None if all are.

    Slots that are data say so themselves: a store to such an element is dropped where there is none.
    """
    inside: Expr | None = None
    for index, slot, extent in zip(einsum.index, slots, einsum.shape):
        if is_data(index) or is_inside(index, extent, einsum.bounds()):
            continue
        low = apply("ge", Ordinal(slot, i64), constant(0, i64))
        limit = constant(extent.constant, i64) if extent.is_constant else Ordinal(extent, i64)
        both = apply("and", low, apply("lt", Ordinal(slot, i64), limit))
        inside = both if inside is None else apply("and", inside, both)
    if einsum.where is None:
        return inside
    wanted = lowering.expression(einsum.where)
    return wanted if inside is None else apply("and", inside, wanted)
