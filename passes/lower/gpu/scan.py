"""Recurrences that only fold their input, on a GPU: a tile along the iterative rank at once, its scan joined to what came before.

    iterate t:T { S: f64[t + 1:T + 1, d:D] = S[t, d] + f64(X[t, d]) from 0.0; Y: f32[t:T, d:D] = f32(S[t + 1, d]) }
      =>
    parallel d.1 {
      block before: f64[d.0:4] = 0.0
      for t.1 {
        scan part over (d.0:4, t.0:256) = sum(t.0) f64(X[256*t.1 + t.0, 4*d.1 + d.0])
        S[d.0, t.0] = before[d.0] + part[d.0, t.0]
        Y[256*t.1 + t.0, 4*d.1 + d.0] = f32(S[d.0, t.0])
        before[d.0] sum= sum(t.0) f64(X[256*t.1 + t.0, 4*d.1 + d.0])
      }
    }

Any other recurrence is walked step by step (`tcomp.passes.lower.scan`).
"""

from __future__ import annotations

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import ZERO, Apply, Load, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.tile import Assign, Axis, Block, Scan, TileStatement
from tcomp.ir.walk import loads, substitute
from tcomp.passes.groups.iteration import step_slot
from tcomp.passes.groups.prefix import Fold, prefix_of
from tcomp.passes.lower.lowering import Lowering, bare, nest_loops, parallel_nest, short_name
from tcomp.passes.lower.maps import count_uses
from tcomp.passes.lower.scan import lower_scan


def lower_gpu_scan(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower an iteration: tile by tile if it is a prefix fold and its rank has a tile, else step by step."""
    group = lowering.bound.group
    assert group.iterative is not None
    prefix = prefix_of(group)
    if prefix is None or not any(name == group.iterative.name for name, _ in lowering.schedule.tiles):
        return lower_scan(lowering)
    lowering.names.add(group.iterative.name)
    lowering.cut(group.outer)
    steps = lowering.cut((group.iterative,))
    body = _lower_tiles(lowering, prefix, group.iterative.name)
    names = {r.name for r in group.outer}
    before, inside = body
    nested = (*before, *nest_loops("for", steps, inside))
    return parallel_nest(lowering, [n for n in lowering.schedule.order if n in names], nested)


def _lower_tiles(lowering: Lowering, prefix: Fold, iterative: str) -> tuple[tuple[TileStatement, ...], tuple[TileStatement, ...]]:
    """What stands before the loop over tiles, and in it."""
    group, state = lowering.bound.group, prefix.state
    rows = lowering.axes(r.name for r in group.outer)
    (along,) = (a for a in lowering.axes((iterative,)))
    axes = (*rows, along)
    step = step_slot(state, iterative)
    dtype = state.dtype
    carried = Block(lowering.fresh("before"), dtype, bare(rows))
    part = Block(lowering.fresh("part"), dtype, bare(axes))
    place = tuple(as_index(a.name) for a in rows)
    point = tuple(as_index(a.name) for a in axes)
    held, found = Load(carried.name, place), Load(part.name, point)
    assert state.initial is not None
    first = lowering.expression(substitute(state.initial, {f"_{step}": ZERO, iterative: ZERO}))
    value = lowering.expression(prefix.value)
    operator = MONOIDS[prefix.monoid].operator
    assert operator is not None
    before: list[TileStatement] = [carried, Assign(carried.name, place, bare(rows) if not loads(first) else rows, first)]
    inside: list[TileStatement] = [part, Scan(part.name, axes, prefix.monoid, along.name, value)]
    total = lowering.block(state, dtype, axes)
    inside += [total, Assign(total.name, lowering.blocks[state.name].index, axes, Apply(operator, (held, found)))]
    if state.name in group.stored:
        start = tuple(ZERO if k == step else lowering.place(i) for k, i in enumerate(state.index))
        before.append(Assign(state.name, start, rows, held))
        inside.append(Assign(state.name, tuple(lowering.place(i) for i in state.index), axes, lowering.blocks[state.name]))
    for einsum in prefix.maps:
        inside += _lower_map(lowering, einsum, axes)
    inside.append(Assign(carried.name, place, rows, value, merge=prefix.monoid, reduce=prefix.monoid, reduced=(along,)))
    return tuple(before), tuple(inside)


def _lower_map(lowering: Lowering, einsum: Einsum, axes: tuple[Axis, ...]) -> list[TileStatement]:
    """A map on a tile: a block if other maps read it, stored if it leaves the kernel."""
    value = lowering.expression(einsum.expression)
    is_stored = einsum.name in lowering.bound.group.stored
    body: list[TileStatement] = []
    if count_uses(lowering, einsum.name):
        block = Block(lowering.fresh(short_name(einsum.name)), einsum.dtype, bare(axes))
        held = Load(block.name, tuple(as_index(a.name) for a in axes))
        lowering.blocks[einsum.name] = held
        body += [block, Assign(block.name, held.index, axes, value)]
        value = held
    if is_stored:
        body.append(Assign(einsum.name, tuple(lowering.place(i) for i in einsum.index), axes, value))
    return body
