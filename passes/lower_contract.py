"""Contractions: a register tile of accumulators over the free ranks, loops over the reduced ranks, then the epilogue on the tile."""

from __future__ import annotations

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Load, loads
from tcomp.ir.tile import Assign, Axis, TileStatement
from tcomp.passes.lowering import (
    Lowering,
    accumulator_dtype,
    identity_of,
    narrow,
    nest_loops,
    parallel_nest,
)


def lower_contract(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower a contraction and its epilogue; see `tcomp.passes.lower` for the shape of the result."""
    group, schedule = lowering.bound.group, lowering.schedule
    root, *epilogue = group.members
    lowering.cut(group.outer)
    reduced = lowering.cut(sorted(root.reduced, key=lambda r: schedule.order.index(r.name)), tiled=False)
    axes = lowering.axes(r.name for r in group.outer)
    dtype = accumulator_dtype(root)
    accumulator = lowering.block(root, dtype, axes)
    index = lowering.blocks[root.name].index
    update = Assign(accumulator.name, index, axes, lowering.expression(root.expression), merge=root.reduce)
    body: list[TileStatement] = [
        accumulator,
        Assign(accumulator.name, index, axes, identity_of(root)[0]),
        *nest_loops("for", reduced, (update,)),
    ]
    if root.name in group.stored:
        body.append(lowering.store(root, narrow(lowering.blocks[root.name], dtype, root.dtype), axes))
    body += lower_maps(lowering, epilogue, axes)
    order = [name for name in schedule.order if name in {r.name for r in group.outer}]
    return parallel_nest(lowering, order, tuple(body))


def lower_maps(lowering: Lowering, members: list[Einsum], axes: tuple[Axis, ...]) -> list[TileStatement]:
    """Maps on a tile: a block for what is read more than once, an expression for what is read once, a store for what leaves."""
    stored = lowering.bound.group.stored
    body: list[TileStatement] = []
    for einsum in members:
        uses = count_uses(lowering, einsum.name)
        if uses > 1 or (uses == 1 and einsum.name in stored):
            value = lowering.expression(einsum.expression)
            own = tuple(a for a in axes if a.name.rsplit(".", 1)[0] in {r.name for r in einsum.free})
            block = lowering.block(einsum, einsum.dtype, own)
            body += [block, Assign(block.name, lowering.blocks[einsum.name].index, own, value)]
            if einsum.name in stored:
                body.append(lowering.store(einsum, lowering.blocks[einsum.name], own))
        elif einsum.name in stored:
            body.append(lowering.store(einsum, lowering.expression(einsum.expression), axes))
        else:
            lowering.inlined[einsum.name] = einsum
    return body


def count_uses(lowering: Lowering, name: str) -> int:
    """How often members read a member's tensor."""
    total = 0
    for einsum in lowering.bound.group.members:
        for part in (einsum.expression, einsum.where):
            found: list[Load] = loads(part) if part is not None else []
            total += sum(1 for load in found if load.tensor == name)
    return total
