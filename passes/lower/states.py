"""Reductions by monoids with several components: a state in blocks, one each, merged with each element in the order of the ranks.

    (A: f32, P: i64)[i:6] = argmax(j:20) X[i, j]
      =>
    A_state[i] = -inf; P_state[i] = largest
    for j { element = X[i, j]; element_2 = i64[j]; merged = ...; A_state[i] = merged; P_state[i] = merged_2 }

Where a reduced rank has an axis there is a state for each of its points, and after the loop these become one (`Monoid.across`).
"""

from __future__ import annotations

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Expr, Load, as_index
from tcomp.ir.monoids import MONOIDS, position_of
from tcomp.ir.tile import Assign, Axis, Block, TileStatement
from tcomp.passes.einsums.facts import narrow
from tcomp.passes.lower.lowering import Lowering, bare, short_name


def lower_states(
    lowering: Lowering,
    einsum: Einsum,
    axes: tuple[Axis, ...],
    lanes: tuple[Axis, ...],
    before: list[TileStatement],
    inside: list[TileStatement],
    after: list[TileStatement],
) -> None:
    """Add a reduction to what stands before, inside and after a loop; `lanes` are the axes of reduced ranks."""
    assert einsum.reduce is not None
    monoid = MONOIDS[einsum.reduce]
    points = (*axes, *lanes)
    index = tuple(as_index(a.name) for a in points)
    dtypes = monoid.state_dtypes(einsum.dtype)
    state = [Block(lowering.fresh(f"{short_name(n)}_state"), t, bare(points)) for (n, _), t in zip(einsum.targets, dtypes)]
    position = position_of((r.name, r.extent) for r in einsum.reduced)
    lifted = monoid.lift(einsum.expression, position, einsum.dtype)
    element = [Block(lowering.fresh("element"), t, bare(points)) for t in dtypes]
    merged = [Block(lowering.fresh("merged"), t, bare(points)) for t in dtypes]
    where = lowering.condition(einsum)
    for block, identity in zip(state, monoid.identity(einsum.dtype)):
        before += [block, Assign(block.name, index, bare(points), identity)]
    for block, value in zip(element, lifted):
        inside += [block, Assign(block.name, index, points, lowering.expression(value))]
    joined = monoid.merge(
        tuple(Load(b.name, index) for b in state), tuple(Load(b.name, index) for b in element), einsum.dtype
    )
    for block, value in zip(merged, joined):
        inside += [block, Assign(block.name, index, points, value)]
    for block, new in zip(state, merged):
        inside.append(Assign(block.name, index, points, Load(new.name, index), where=where))
    if lanes:
        state = _fold_lanes(lowering, einsum, state, axes, lanes, after)
    own = tuple(as_index(a.name) for a in axes)
    stored = lowering.bound.group.stored
    for (name, dtype), block, held in zip(einsum.targets, state, dtypes):
        lowering.blocks[name] = Load(block.name, own)
        if name in stored:
            after.append(Assign(name, lowering.slots(einsum, name), axes, narrow(Load(block.name, own), held, dtype)))


def _fold_lanes(
    lowering: Lowering, einsum: Einsum, state: list[Block], axes: tuple[Axis, ...], lanes: tuple[Axis, ...], after: list[TileStatement]
) -> list[Block]:
    """One state of the states of all lanes."""
    assert einsum.reduce is not None
    monoid = MONOIDS[einsum.reduce]
    index = tuple(as_index(a.name) for a in (*axes, *lanes))
    own = tuple(as_index(a.name) for a in axes)
    totals = [Block(lowering.fresh(block.name.removesuffix("_state")), block.dtype, bare(axes)) for block in state]
    parts: tuple[Expr, ...] = tuple(Load(block.name, index) for block in state)
    wholes: tuple[Expr, ...] = tuple(Load(block.name, own) for block in totals)
    after += totals
    for component, name, value in monoid.across(parts, wholes, einsum.dtype):
        after.append(Assign(totals[component].name, own, bare(axes), value, reduce=name, reduced=bare(lanes)))
    return totals
