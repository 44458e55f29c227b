"""Recurrences and scatters: serial loops that write to memory, parallel and vectorised over the ranks that pass through.

    iterate t:T { S: f32[t + 1:T + 1, d:D] = a[t, d] * S[t, d] + b[t, d] from 0.0 }
      =>
    parallel d.1 { S[0, d] = 0.0; for t in 0 .. T { S[t + 1, d] = a[t, d] * S[t, d] + b[t, d] } }
"""

from __future__ import annotations

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import ZERO, Expr, Index, Load, Ordinal, apply, as_index, constant, substitute
from tcomp.ir.index import is_inside
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.tile import Assign, Axis, Block, TileStatement
from tcomp.passes.lowering import (
    Lowering,
    accumulator_dtype,
    identity_of,
    narrow,
    nest_loops,
    parallel_nest,
    short_name,
)


def lower_scan(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower an iteration: initial values, then all members step by step."""
    group = lowering.bound.group
    assert group.iterative is not None
    lowering.cut(group.outer)
    axes = lowering.axes(r.name for r in group.outer)
    steps = lowering.cut((group.iterative,))
    outer = {r.name for r in group.outer}
    before: list[TileStatement] = []
    inside: list[TileStatement] = []
    for einsum in group.members:
        rest = [r for r in einsum.free if r.name not in outer and r.name != group.iterative.name]
        splits = lowering.cut(rest, tiled=False)
        if einsum.initial is not None:
            before += nest_loops("for", splits, (_store_initial(lowering, einsum, group.iterative, axes),))
        inside += nest_loops("for", splits, tuple(_lower_step(lowering, einsum, axes)))
    body = (*before, *nest_loops("for", steps, tuple(inside)))
    return parallel_nest(lowering, (r.name for r in group.outer), body)


def _store_initial(lowering: Lowering, einsum: Einsum, iterative: Rank, axes: tuple[Axis, ...]) -> Assign:
    """Write the carried tensor at step 0."""
    assert einsum.initial is not None
    carried = {f"_{p}": ZERO for p, i in enumerate(einsum.index) if i.as_variable is None}
    value = substitute(einsum.initial, {**carried, iterative.name: ZERO})
    slots = tuple(ZERO if i.as_variable is None else lowering.place(i) for i in einsum.index)
    return Assign(einsum.name, slots, axes, lowering.expression(value))


def _lower_step(lowering: Lowering, einsum: Einsum, axes: tuple[Axis, ...]) -> list[TileStatement]:
    """One member at one step: reduced in a block if it reduces, then stored."""
    if einsum.reduce is None:
        return [lowering.store(einsum, lowering.expression(einsum.expression), axes)]
    if MONOIDS[einsum.reduce].arity > 1:
        raise AssertionError("tuple states inside an iteration are expanded before lowering")
    reduced = lowering.cut(einsum.reduced, tiled=False)
    dtype = accumulator_dtype(einsum)
    block = Block(lowering.fresh(short_name(einsum.name)), dtype, tuple(Axis(a.name, a.size) for a in axes))
    index = tuple(as_index(a.name) for a in axes)
    where = None if einsum.where is None else lowering.expression(einsum.where)
    value = lowering.expression(einsum.expression)
    update = Assign(block.name, index, axes, value, merge=einsum.reduce, where=where)
    return [
        block,
        Assign(block.name, index, axes, identity_of(einsum)[0]),
        *nest_loops("for", reduced, (update,)),
        lowering.store(einsum, narrow(Load(block.name, index), dtype, einsum.dtype), axes),
    ]


def lower_scatter(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower a scatter: the whole target gets its initial value, then every point is folded in, in order."""
    group = lowering.bound.group
    (einsum,) = group.members
    lowering.cut(group.outer)
    axes = lowering.axes(r.name for r in group.outer)
    places = [(p, Rank(f"_{p}", e)) for p, (i, e) in enumerate(zip(einsum.index, einsum.shape)) if i.as_variable is None]
    fill = lowering.cut((rank for _, rank in places), tiled=False)
    names = dict(places)
    whole = tuple(as_index(names[p].name) if p in names else lowering.place(i) for p, i in enumerate(einsum.index))
    initial = identity_of(einsum)[0] if einsum.initial is None else einsum.initial
    first = Assign(einsum.name, whole, axes, lowering.expression(initial))
    reduced = lowering.cut(einsum.reduced, tiled=False)
    slots = tuple(lowering.place(i) for i in einsum.index)
    merge = None if einsum.reduce in (None, "last") else einsum.reduce
    where = _inside(lowering, slots, einsum.shape)
    if einsum.where is not None:
        wanted = lowering.expression(einsum.where)
        where = wanted if where is None else apply("and", where, wanted)
    fold = Assign(einsum.name, slots, axes, lowering.expression(einsum.expression), merge=merge, where=where)
    body = (*nest_loops("for", fill, (first,)), *nest_loops("for", reduced, (fold,)))
    return parallel_nest(lowering, (r.name for r in group.outer), body)



def _inside(lowering: Lowering, slots: tuple[Index, ...], shape: tuple[Index, ...]) -> Expr | None:
    """Whether a point is stored at all: points outside the target are dropped. None if no point can be outside."""
    inside: Expr | None = None
    for slot, extent in zip(slots, shape):
        if is_inside(slot, extent, lowering.bounds()):
            continue
        low = apply("ge", Ordinal(slot, i64), constant(0, i64))
        limit = constant(extent.constant, i64) if extent.is_constant else Ordinal(extent, i64)
        both = apply("and", low, apply("lt", Ordinal(slot, i64), limit))
        inside = both if inside is None else apply("and", inside, both)
    return inside
