"""Maps and reductions over common ranks: one loop over the inner ranks per phase.

Reductions of the inner ranks end a phase; what depends on them starts the next. A softmax over m has three:

    parallel p {
      for m: G max= S                       phase 0
      for m: E_buffer = exp(S - G); D sum= E     phase 1
      for m: A = E_buffer / D               phase 2
    }

A map needed in a later phase is read back if it was stored, and kept in a buffer otherwise, unless it is to be computed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import DType, f64
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, apply, as_index, constant
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.tile import Assign, Axis, Block, Buffer, TileStatement
from tcomp.ir.walk import loads
from tcomp.passes.bind.arguments import element_dtype
from tcomp.passes.einsums.facts import accumulator_dtype, is_long_product, narrow
from tcomp.passes.einsums.group import own_ranks
from tcomp.passes.groups.phases import find_phases, is_read_later, walks_inner
from tcomp.passes.lower.lowering import Lowering, bare, nest_loops, parallel_nest, short_name, split
from tcomp.passes.lower.maps import count_uses
from tcomp.passes.lower.partial_sums import as_f64, is_cut, nest_sums
from tcomp.passes.lower.states import lower_states


@dataclass(frozen=True, slots=True)
class _Phases:
    """The phase of each member; a member without inner ranks is ready before that phase."""

    of: dict[str, int]
    count: int
    keeps: bool


@dataclass(slots=True)
class _Stages:
    """The statements of one phase: before its loop, before each partial sum, inside, after each partial sum, and after the loop."""

    before: list[TileStatement] = field(default_factory=list)
    start: list[TileStatement] = field(default_factory=list)
    inside: list[TileStatement] = field(default_factory=list)
    fold: list[TileStatement] = field(default_factory=list)
    after: list[TileStatement] = field(default_factory=list)


def lower_nest(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower maps and reductions over the outer and inner ranks of a group."""
    group = lowering.bound.group
    lowering.cut(group.outer)
    body = lower_phases(lowering)
    names = {r.name for r in group.outer}
    order = [name for name in lowering.schedule.order if name in names]
    return parallel_nest(lowering, order, body)


def lower_phases(lowering: Lowering, *, keeps: bool = True) -> tuple[TileStatement, ...]:
    """All phases of a group whose outer ranks are cut already; unless it `keeps` maps, all are computed again in later phases."""
    lowering.cut(lowering.bound.group.inner)
    of = find_phases(lowering.bound.group)
    phases = _Phases(of, max(of.values(), default=0), keeps)
    body: list[TileStatement] = []
    for phase in range(phases.count + 1):
        body += _lower_points(lowering, phases, phase)
        body += _lower_phase(lowering, phases, phase)
    return tuple(body)


def _lower_points(lowering: Lowering, phases: _Phases, phase: int) -> list[TileStatement]:
    """Members over the outer ranks alone that are ready before this phase."""
    body: list[TileStatement] = []
    group, stored = lowering.bound.group, lowering.bound.group.stored
    for einsum in group.members:
        if phases.of[einsum.name] != phase or walks_inner(group, einsum) or einsum.reduce is not None:
            continue
        own = own_ranks(group, einsum)
        lowering.splits.update((r.name, split(r, (r.extent.constant,), lowering.ranks)) for r in own)
        axes = lowering.axes(r.name for r in (*group.outer, *own))
        uses = count_uses(lowering, einsum.name)
        if einsum.name in stored and uses == 0:
            body.append(lowering.store(einsum, _lower_value(lowering, einsum), axes))
        elif uses == 1 and einsum.name not in stored and not group.inner:
            lowering.inlined[einsum.name] = einsum
        else:
            value = _lower_value(lowering, einsum)
            block = lowering.block(einsum, einsum.dtype, axes)
            body += [block, Assign(block.name, lowering.blocks[einsum.name].index, axes, value)]
            if einsum.name in stored:
                body.append(lowering.store(einsum, lowering.blocks[einsum.name], axes))
    return body


def _lower_value(lowering: Lowering, einsum: Einsum) -> Expr:
    """The value of a map over outer ranks; a mean follows from the total of its sum, whose rounding would be in all deviations from it."""
    match einsum.expression:
        case Apply(("mul" | "div") as operator, (Load(tensor), Constant(number))) if tensor in lowering.totals:
            total = lowering.totals[tensor]
            return narrow(apply(operator, total, constant(number, f64)), f64, einsum.dtype)
        case Cast(_, Load(tensor)) if tensor in lowering.blocks and _is_total(lowering, tensor):
            lowering.totals[einsum.name] = lowering.blocks[tensor]
    return lowering.expression(einsum.expression)


def _is_total(lowering: Lowering, name: str) -> bool:
    return any(e.name == name and e.dtype == f64 and e.reduce == "sum" for e in lowering.bound.group.members)


def _lower_phase(lowering: Lowering, phases: _Phases, phase: int) -> list[TileStatement]:
    """The loop of one phase, with what must be set up before it and finished after it."""
    group = lowering.bound.group
    members = [e for e in group.members if phases.of[e.name] == phase and walks_inner(lowering.bound.group, e)]
    if not members:
        return []
    outer_axes = lowering.axes(r.name for r in group.outer)
    inner_axes = lowering.axes(r.name for r in (*group.outer, *group.inner))
    stages = _Stages()
    local: list[str] = []
    for einsum in _with_recomputed(lowering, phases, phase, members):
        if einsum.reduce is None:
            stages.before += _declare_buffer(lowering, phases, phase, einsum)
            stages.inside += _lower_map(lowering, phases, phase, einsum, inner_axes)
            local.append(einsum.name)
        else:
            _lower_reduction(lowering, einsum, outer_axes, inner_axes, stages)
    names = [n for n in lowering.schedule.order if n in {r.name for r in group.inner}]
    for name in local:
        lowering.blocks.pop(name, None)
        lowering.inlined.pop(name, None)
    if stages.fold:
        loops = nest_sums(lowering, names, stages.start, stages.inside, stages.fold)
    else:
        loops = nest_loops("for", (lowering.splits[n] for n in names), tuple(stages.inside))
    return [*stages.before, *loops, *stages.after]


def _with_recomputed(lowering: Lowering, phases: _Phases, phase: int, members: list[Einsum]) -> list[Einsum]:
    """The members of a phase, preceded by earlier maps that are computed again in it."""
    table = {e.name: e for e in lowering.bound.group.members}
    found: dict[str, Einsum] = {}

    def need(name: str) -> None:
        einsum = table.get(name)
        if einsum is None or name in found or name in lowering.memory or name in lowering.blocks:
            return
        if phases.of[name] < phase and einsum.reduce is None and walks_inner(lowering.bound.group, einsum):
            for read in einsum.reads():
                need(read)
            found[name] = einsum

    for einsum in members:
        for name in einsum.reads():
            need(name)
    return [*found.values(), *members]


def _declare_buffer(lowering: Lowering, phases: _Phases, phase: int, einsum: Einsum) -> list[TileStatement]:
    """Decide how later phases see a map; a buffer is declared before the loop."""
    group = lowering.bound.group
    if phases.of[einsum.name] != phase or not is_read_later(group, phases.of, einsum.name):
        return []
    if einsum.name in group.again or not phases.keeps:
        return []
    if einsum.name in group.stored:
        lowering.memory[einsum.name] = Load(einsum.name, einsum.index)
        return []
    extents = [r.extent for r in group.inner]
    outer = lowering.axes(r.name for r in group.outer)
    if not all(extent.is_constant for extent in extents):
        raise Illegal(
            f"{einsum.name} is kept between phases, and how long a row is is not known",
            where=f"the kernel of {', '.join(group.names)}",
            help=f"let it be computed again: again ({einsum.name})",
        )
    name = lowering.fresh(f"{short_name(einsum.name)}_row")
    lowering.memory[einsum.name] = Load(name, (*(as_index(a.name) for a in outer), *(as_index(r.name) for r in group.inner)))
    return [Buffer(name, einsum.dtype, (*(a.size for a in outer), *(e.constant for e in extents)))]


def _lower_map(
    lowering: Lowering, phases: _Phases, phase: int, einsum: Einsum, axes: tuple[Axis, ...]
) -> list[TileStatement]:
    group = lowering.bound.group
    body: list[TileStatement] = []
    first = phases.of[einsum.name] == phase
    # Only later phases read a map back: where it is computed it is a block or part of its reader.
    kept = lowering.memory.pop(einsum.name, None) if first else None
    stored = einsum.name in group.stored and first
    buffer = None if stored else kept
    uses = _uses_in_phase(lowering, phases, phase, einsum.name)
    if uses == 0 and buffer is None and stored:
        body.append(lowering.store(einsum, lowering.expression(einsum.expression), axes))
    elif uses <= 1 and buffer is None and not stored:
        lowering.inlined[einsum.name] = einsum
    else:
        value = lowering.expression(einsum.expression)
        block = lowering.block(einsum, einsum.dtype, axes)
        body += [block, Assign(block.name, lowering.blocks[einsum.name].index, axes, value)]
        if stored:
            body.append(lowering.store(einsum, lowering.blocks[einsum.name], axes))
    if buffer is not None:
        index = tuple(lowering.place(i) for i in buffer.index)
        body.append(Assign(buffer.tensor, index, axes, lowering.blocks[einsum.name]))
    if kept is not None:
        lowering.memory[einsum.name] = kept
    return body


def _uses_in_phase(lowering: Lowering, phases: _Phases, phase: int, name: str) -> int:
    """Reads of a map by members of a phase, and by maps recomputed in it."""
    table = lowering.bound.group.members
    present = [e for e in table if walks_inner(lowering.bound.group, e) and phases.of[e.name] == phase]
    recomputed = _with_recomputed(lowering, phases, phase, present)
    unique = {e.name: e for e in recomputed}
    return sum(1 for e in unique.values() for load in loads(e.expression) if load.tensor == name)


def _lower_reduction(
    lowering: Lowering,
    einsum: Einsum,
    outer_axes: tuple[Axis, ...],
    inner_axes: tuple[Axis, ...],
    stages: _Stages,
) -> None:
    """Accumulate per lane inside the loop; merge lanes after it, or after each partial sum."""
    assert einsum.reduce is not None
    monoid = MONOIDS[einsum.reduce]
    lane_axes = tuple(a for a in inner_axes if a not in outer_axes)
    if monoid.arity > 1:
        lower_states(lowering, einsum, outer_axes, lane_axes, stages.before, stages.inside, stages.after)
        return
    cut = is_cut(lowering, einsum)
    is_product = is_long_product(einsum)
    dtype = f64 if is_product else element_dtype(einsum, lowering.bound) if cut else accumulator_dtype(einsum)
    name = lowering.fresh(short_name(einsum.name) + ("_part" if lane_axes else ""))
    partial = Block(name, dtype, bare(inner_axes))
    index = tuple(as_index(a.name) for a in inner_axes)
    value = lowering.expression(einsum.expression)
    value = as_f64(value, element_dtype(einsum, lowering.bound)) if is_product else value
    where = lowering.condition(einsum)
    begin = Assign(partial.name, index, bare(inner_axes), constant(0.0, dtype) if cut else monoid.identity(dtype)[0])
    stages.inside.append(Assign(partial.name, index, inner_axes, value, merge=einsum.reduce, where=where))
    if cut:
        total = lowering.block(einsum, f64, outer_axes)
        own = lowering.blocks[einsum.name].index
        stages.before += [partial, total, Assign(total.name, own, bare(outer_axes), constant(0.0, f64))]
        stages.start.append(begin)
        stages.fold.append(_fold_lanes(total, own, outer_axes, as_f64(Load(name, index), dtype), lane_axes, "sum"))
        _finish_reduction(lowering, einsum, f64, outer_axes, stages.after)
        return
    stages.before += [partial, begin]
    if lane_axes:
        total = lowering.block(einsum, dtype, outer_axes)
        own = lowering.blocks[einsum.name].index
        stages.after += [total, replace(_fold_lanes(total, own, outer_axes, Load(name, index), lane_axes, einsum.reduce), merge=None)]
    else:
        lowering.blocks[einsum.name] = Load(partial.name, index)
    _finish_reduction(lowering, einsum, dtype, outer_axes, stages.after)


def _fold_lanes(
    total: Block, own: tuple[Index, ...], axes: tuple[Axis, ...], value: Expr, lanes: tuple[Axis, ...], monoid: str
) -> Assign:
    """Fold what lies in lanes, if any, into a total."""
    reduce = monoid if lanes else None
    return Assign(total.name, own, bare(axes), value, merge=monoid, reduce=reduce, reduced=bare(lanes))


def _finish_reduction(
    lowering: Lowering, einsum: Einsum, dtype: DType, axes: tuple[Axis, ...], after: list[TileStatement]
) -> None:
    """Round a total, held in a type, to that of its tensor, and store it if it leaves the kernel."""
    held = lowering.blocks[einsum.name]
    if dtype != einsum.dtype:
        lowering.totals[einsum.name] = held
        value = narrow(held, dtype, einsum.dtype)
        block = lowering.block(einsum, einsum.dtype, axes)
        after += [block, Assign(block.name, lowering.blocks[einsum.name].index, axes, value)]
    if einsum.name in lowering.bound.group.stored:
        after.append(lowering.store(einsum, lowering.blocks[einsum.name], axes))
