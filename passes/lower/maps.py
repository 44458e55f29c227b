"""Maps beside a tile: a block where read twice, inlined where once, stored where they leave."""

from __future__ import annotations

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Load
from tcomp.ir.tile import Assign, Axis, TileStatement
from tcomp.ir.walk import loads
from tcomp.passes.lower.lowering import Lowering


def lower_maps(lowering: Lowering, members: list[Einsum], axes: tuple[Axis, ...]) -> list[TileStatement]:
    """Maps on a tile: a block for what is read more than once, an expression for what is read once, a store for what leaves."""
    stored = lowering.bound.group.stored
    body: list[TileStatement] = []
    for einsum in members:
        uses = count_uses(lowering, einsum.name)
        if uses > 1 or (uses == 1 and einsum.name in stored):
            value = lowering.expression(einsum.expression)
            found = {axis.name for axis in lowering.axes(r.name for r in einsum.free)}
            own = tuple(a for a in axes if a.name in found)
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
