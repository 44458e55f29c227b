"""Maps and reductions on a GPU: a row that fits one block is read once, and all phases find it in registers.

    parallel p.1 {
      G[p.0] = max(m.0:512) S[4*p.1 + p.0, m.0]
      E[p.0, m.0] = exp(S[4*p.1 + p.0, m.0] - G[p.0])
      D[p.0] = sum(m.0:512) E[p.0, m.0]
      Z_out[4*p.1 + p.0, m.0] = E[p.0, m.0] / D[p.0]
    }

A longer row is walked once in each phase (`tcomp.passes.lower.nest`), and maps are computed again: no instance has memory of its own
that is nearer than what its inputs were read from.
"""

from __future__ import annotations

from tcomp.ir.cascade import Einsum
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.tile import Assign, Axis, TileStatement
from tcomp.passes.einsums.facts import accumulator_dtype, narrow
from tcomp.passes.groups.phases import walks_inner
from tcomp.passes.lower.lowering import Lowering, parallel_nest
from tcomp.passes.lower.maps import count_uses
from tcomp.passes.lower.nest import lower_phases
from tcomp.passes.lower.states import lower_states


def lower_gpu_nest(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower maps and reductions over the outer and inner ranks of a group."""
    group = lowering.bound.group
    lowering.cut(group.outer)
    inner = lowering.cut(group.inner)
    is_whole = bool(inner) and not any(split.loops for split in inner)
    body = _lower_row(lowering) if is_whole else lower_phases(lowering, keeps=False)
    names = {r.name for r in group.outer}
    return parallel_nest(lowering, [name for name in lowering.schedule.order if name in names], body)


def _lower_row(lowering: Lowering) -> tuple[TileStatement, ...]:
    """All members over the whole row at once."""
    group = lowering.bound.group
    outer = lowering.axes(r.name for r in group.outer)
    whole = lowering.axes(r.name for r in (*group.outer, *group.inner))
    body: list[TileStatement] = []
    for einsum in group.members:
        if einsum.reduce is None:
            _lower_map(lowering, einsum, whole if walks_inner(group, einsum) else outer, body)
        else:
            _lower_reduction(lowering, einsum, outer, whole, body)
    return tuple(body)


def _lower_map(lowering: Lowering, einsum: Einsum, axes: tuple[Axis, ...], body: list[TileStatement]) -> None:
    """A map is a block if several read it, part of its reader if one does, and stored if it leaves the kernel."""
    uses = count_uses(lowering, einsum.name)
    is_stored = einsum.name in lowering.bound.group.stored
    value = lowering.expression(einsum.expression)
    if uses and (uses > 1 or is_stored):
        block = lowering.block(einsum, einsum.dtype, axes)
        held = lowering.blocks[einsum.name]
        body += [block, Assign(block.name, held.index, axes, value)]
        value = held
    elif uses:
        lowering.inlined[einsum.name] = einsum
    if is_stored:
        body.append(lowering.store(einsum, value, axes))


def _lower_reduction(
    lowering: Lowering, einsum: Einsum, outer: tuple[Axis, ...], whole: tuple[Axis, ...], body: list[TileStatement]
) -> None:
    assert einsum.reduce is not None
    lanes = tuple(a for a in whole if a not in outer)
    if MONOIDS[einsum.reduce].arity > 1:
        lower_states(lowering, einsum, outer, lanes, body, body, body)
        return
    dtype = accumulator_dtype(einsum)
    value = lowering.expression(einsum.expression)
    where = lowering.condition(einsum)
    total = lowering.block(einsum, dtype, outer)
    held = lowering.blocks[einsum.name]
    body += [total, Assign(total.name, held.index, outer, value, reduce=einsum.reduce, reduced=lanes, where=where)]
    if dtype != einsum.dtype:
        narrowed = lowering.block(einsum, einsum.dtype, outer)
        body += [narrowed, Assign(narrowed.name, held.index, outer, narrow(held, dtype, einsum.dtype))]
    if einsum.name in lowering.bound.group.stored:
        body.append(lowering.store(einsum, lowering.blocks[einsum.name], outer))
