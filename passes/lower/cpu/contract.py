"""Contractions: a register tile of accumulators over the free ranks, loops over the reduced ranks, then the epilogue on the tile."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Rank
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import ZERO, Load, as_index
from tcomp.ir.schedule import CpuLaunch
from tcomp.ir.tile import Assign, Axis, Buffer, Prefetch, TileStatement
from tcomp.ir.walk import index_variables
from tcomp.passes.einsums.contraction import contraction_of
from tcomp.passes.einsums.facts import accumulator_dtype, identity_of, narrow
from tcomp.passes.lower.lowering import Lowering, Split, nest_loops, parallel_nest, variable_of
from tcomp.passes.lower.maps import lower_maps

LINE = 16
"""Elements of a cache line that one prefetch brings, for the widest common element."""

MOST_LINES = 2
"""Prefetches with each step: more would compete with the loads of the tile itself."""


def lower_contract(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower a contraction and its epilogue; see `tcomp.passes.kinds.table` for the shape of the result."""
    group, schedule = lowering.bound.group, lowering.schedule
    lowering.cut(group.outer)
    order = [name for name in schedule.order if name in {r.name for r in group.outer}]
    return parallel_nest(lowering, order, contract_tile(lowering))


def contract_tile(lowering: Lowering) -> tuple[TileStatement, ...]:
    """One register tile of a contraction whose free ranks are cut already: accumulate, then the epilogue."""
    group, schedule = lowering.bound.group, lowering.schedule
    root, *epilogue = group.members
    ordered = sorted(root.reduced, key=lambda r: schedule.order.index(r.name))
    outer, inner = _cut_sum(lowering, ordered)
    axes = lowering.axes(r.name for r in group.outer)
    dtype = accumulator_dtype(root)
    accumulator = lowering.block(root, dtype, axes)
    index = lowering.blocks[root.name].index
    update = Assign(accumulator.name, index, axes, lowering.expression(root.expression), merge=root.reduce)
    start = Assign(accumulator.name, index, axes, identity_of(root)[0])
    products = nest_loops("for", inner, (*_prefetch_panel(lowering, [*outer, *inner]), update))
    body: list[TileStatement] = [accumulator]
    if outer:
        total = Buffer(lowering.fresh(f"{accumulator.name}_total"), dtype, tuple(a.size for a in axes))
        whole = tuple(Axis(a.name, a.size) for a in axes)
        add = Assign(total.name, index, whole, lowering.blocks[root.name], merge=root.reduce)
        body += [total, Assign(total.name, index, whole, identity_of(root)[0])]
        body += nest_loops("for", outer, (replace(start, axes=whole), *products, add))
        lowering.blocks[root.name] = Load(total.name, index)
    else:
        body += [start, *products]
    if root.name in group.stored:
        body.append(lowering.store(root, narrow(lowering.blocks[root.name], dtype, root.dtype), axes))
    return (*body, *lower_maps(lowering, epilogue, axes))


def _cut_sum(lowering: Lowering, reduced: list[Rank]) -> tuple[list[Split], list[Split]]:
    """The loops outside and inside a partial sum; none outside if the whole sum is one. In a chain, tiles are those of its lanes."""
    names = {r.name for r in reduced} if lowering.schedule.kind == "contract" else set()
    steps = {name: size for name, size in lowering.schedule.tiles if name in names}
    splits = lowering.cut(reduced, tiled=False)
    position = next((p for p, r in enumerate(reduced) if r.name in steps), None)
    if position is None:
        return [], splits
    rank = reduced[position]
    size = steps[rank.name]
    chunk, step = (variable_of(rank.name, depth, lowering.ranks) for depth in (1, 0))
    index = as_index(chunk) * size + as_index(step)
    loops = ((chunk, rank.extent // size), (step, as_index(size)))
    lowering.splits[rank.name] = Split(rank, index, loops, None)
    inside = replace(lowering.splits[rank.name], loops=loops[1:])
    return (
        [*splits[:position], replace(inside, loops=loops[:1])],
        [inside, *splits[position + 1 :]],
    )


def _prefetch_panel(lowering: Lowering, reduced: list[Split]) -> list[TileStatement]:
    """Fetch a share of the next panel of the packed operand with every step: all tiles of rows that use this panel fetch it whole."""
    group, schedule = lowering.bound.group, lowering.schedule
    assert isinstance(schedule.launch, CpuLaunch)
    contraction = contraction_of(group)
    load, name, width = contraction.right, contraction.lanes.name, contraction.fact.panel
    if load.tensor not in schedule.launch.prefetch or width is None:
        return []
    lanes = lowering.splits[name]
    assert lanes.axis is not None, "a packed operand is read by panels"
    if not lanes.loops:
        raise Illegal(
            f"{load.tensor} is prefetched and has no next panel: {width} lanes are all of {name}",
            where=f"prefetch of the kernel of {', '.join(group.names)}",
            help="prefetch operands of several panels only",
        )
    counters = [loop for s in reduced for loop in s.loops]
    names = {r.name for r in group.outer}
    for other in (n for n in reversed(schedule.order) if n in names):
        if other == name:
            break
        counters = [*lowering.splits[other].loops, *counters]
    steps = prod(trips.constant for _, trips in counters)
    panel_elements = width * prod(r.extent.constant for r in group.root.reduced)
    place = lowering.place(load.index[-1]) - as_index(lanes.axis.name)
    position = ZERO
    for variable, trips in counters:
        position = position * trips + as_index(variable)
    share = max(1, panel_elements // steps)
    (panel_loop, _), *_ = lanes.loops
    found: list[TileStatement] = []
    for line in range(0, min(share, MOST_LINES * LINE), LINE):
        index = []
        for i in load.index[:-1]:
            placed = lowering.place(i)
            if index_variables(i) & {r.name for r in group.root.reduced}:
                placed = ZERO
            elif index_variables(placed) == {panel_loop}:
                placed = placed + 1
            index.append(placed)
        found.append(Prefetch(load.tensor, (*index, place + position * share + line)))
    return found
