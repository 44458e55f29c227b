"""First tile choices on a GPU: by counting for contractions (`tcomp.passes.cost.gpu`), by rule for the rest.

What lies in a tile is one block of one instance, spread over the threads of its warps. A rank that no access walks apart from its
neighbours is joined with them, so that tiles need not end where a rank does.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import DType, f32
from tcomp.ir.expressions import Load
from tcomp.ir.names import first_free, lengthened
from tcomp.ir.operators import OPERATORS
from tcomp.ir.schedule import GpuLaunch, KernelSchedule
from tcomp.ir.target import Gpu
from tcomp.ir.walk import index_variables, loads, walk
from tcomp.passes.bind.arguments import Bound, stride_along
from tcomp.passes.cost.gpu import WARP, Problem, Tile, choose_tiles, count_tiles, group_of, power_above
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import contraction_of, operand_load
from tcomp.passes.einsums.group import Group, Prefix
from tcomp.passes.groups.scatter import is_concurrent
from tcomp.passes.schedule.partial_sums import cut_sums

ELEMENTS = 1024
"""Points of a map that one instance computes."""

ROW_ELEMENTS = 4096
"""Points of a reduction that one instance holds at once; a row of up to twice as many is held whole."""

LARGEST_ROW = 8192
"""A row up to this length is held whole, so that all phases find it in registers."""

SHORT_ROW = 32
"""A shorter reduction is walked step by step where there are enough results to keep all lanes busy."""

LANES = 128
"""Independent recurrences that one instance steps through."""

CHAIN_TILES = ((128, 64, 8, 3), (64, 64, 4, 3), (128, 128, 8, 2), (64, 32, 4, 2))
CHAIN_TILES_WIDE = ((64, 32, 4, 2), (64, 64, 8, 2), (128, 32, 8, 2))
"""Rows, steps, warps and stages of chains, the most promising first: of operands of 16 bits, and of 32."""

CHEAP_EPILOGUE = 12
"""Arithmetic on a result, in instructions, that needs no registers to speak of."""

LARGEST_IN_WARP = 4096
"""Elements that an iteration may hold in the registers of each warp: a quarter of them."""

SIDE = 32
"""Sides of the tile of a map that reads and writes along different ranks."""


def _extent(ranks: tuple[Rank, ...]) -> int:
    return prod(typical(r.extent) for r in ranks)


def _joined(group: Group, *classes: tuple[Rank, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Which ranks are walked as one: those of each class, if it has several."""
    return tuple((_head(group, ranks), tuple(r.name for r in ranks)) for ranks in classes if len(ranks) > 1)


def _head(group: Group, ranks: tuple[Rank, ...]) -> str:
    """The rank that stands for all: the only one, or the one that joins them, which has a name of its own."""
    name = "_".join(r.name for r in ranks)
    taken = {r.name for e in group.members for r in e.ranks} if len(ranks) > 1 else set()
    return first_free(lengthened(name), taken)


def contract_candidates(bound: Bound, target: Gpu, name: str) -> tuple[KernelSchedule, ...]:
    """Schedules of a contraction, the most promising one first."""
    group = bound.group
    root = group.root
    rows, lanes, shared = _sides(group)
    reduced = _reduced_order(bound, root)
    # A rank that is long enough is cut by itself; short ones are joined, or their tiles would be mostly empty.
    whole = len(reduced) == 1 or typical(reduced[-1].extent) < WARP
    inner = tuple(reduced) if whole else (reduced[-1],)
    steps = 1 if whole else prod(typical(r.extent) for r in reduced[:-1])
    operand = _operand_dtype(bound, root)
    slides = any(load.outside is not None for load in loads(root.expression))
    heavy = max(len(rows), len(lanes), len(inner)) > 1 or slides or _cost(group) > CHEAP_EPILOGUE
    problem = Problem(_extent(rows), _extent(lanes), _extent(inner), _extent(shared), steps, operand, heavy)
    order = (*shared, *rows, *lanes)
    heads = [_head(group, ranks) if ranks else None for ranks in (rows, lanes, inner)]
    found: list[KernelSchedule] = []
    tiles = choose_tiles(problem, target)
    for tile in tiles:
        sizes = (tile.rows, tile.lanes, tile.depth)
        cut = tuple((head, size) for head, size in zip(heads, sizes) if head is not None)
        found.append(
            KernelSchedule(
                name,
                group.names,
                "contract",
                cut,
                (*(r.name for r in order), *(r.name for r in reduced)),
                tuple(r.name for r in order),
                lanes[0].name,
                joined=_joined(group, rows, lanes, inner),
                # How many tiles a group has is decoded by division, so they have to divide the rows.
                launch=GpuLaunch(tile.warps, tile.stages, group=group_of(problem, tile) if _is_static(rows) else 0),
            )
        )
    return (*found, *_in_turns(found[:2], tiles, problem, target))


def _in_turns(schedules: list[KernelSchedule], tiles: tuple[Tile, ...], problem: Problem, target: Gpu) -> list[KernelSchedule]:
    """The same tiles walked by as many instances as there are multiprocessors, where each would walk several."""
    many = 2 * target.multiprocessors
    return [
        replace(schedule, launch=replace(schedule.launch, instances=target.multiprocessors))
        for schedule, tile in zip(schedules, tiles)
        if count_tiles(problem, tile) >= many and isinstance(schedule.launch, GpuLaunch)
    ]


def _sides(group: Group) -> tuple[tuple[Rank, ...], tuple[Rank, ...], tuple[Rank, ...]]:
    """The free ranks of a contraction that only one operand has, the longer side first, and those that both have or neither."""
    root, contraction = group.root, contraction_of(group)
    left, right = ({v for i in load.index for v in index_variables(i)} for load in (contraction.left, contraction.right))
    rows = tuple(r for r in root.free if r.name in left and r.name not in right)
    lanes = tuple(r for r in root.free if r.name in right and r.name not in left)
    shared = tuple(r for r in root.free if r not in rows and r not in lanes)
    # Tensor cores take 64 rows at a time and as few lanes as 8.
    if rows and _extent(rows) < 64 <= _extent(lanes):
        rows, lanes = lanes, rows
    return rows, lanes, shared


def _reduced_order(bound: Bound, root: Einsum) -> list[Rank]:
    """The reduced ranks, the one whose steps in memory are smallest in both operands last."""
    operands = [load for load in loads(root.expression) if load.tensor in bound.operands]

    def step(rank: Rank) -> int:
        steps = [stride_along(bound.operands[load.tensor], load.index, rank.name) for load in operands]
        return sum(1 << 20 if step is None else abs(step) for step in steps)

    return sorted(root.reduced, key=lambda r: -step(r))


def _operand_dtype(bound: Bound, root: Einsum) -> DType:
    """The wider element type of what a contraction multiplies."""
    found = [operand_load(a) for a in getattr(root.expression, "arguments", ())]
    dtypes = [bound.operands[load.tensor].memory.dtype for load in found if load is not None and load.tensor in bound.operands]
    return max(dtypes, key=lambda t: t.bits, default=f32)


def chain_candidates(bound: Bound, name: str) -> tuple[KernelSchedule, ...]:
    """Schedules of a chain, the most promising one first.

    Tiles of rows by steps along the rank between the contractions; what is not walked is held whole.
    """
    group = bound.group
    first, middle, last = group.parts
    (inner,) = middle.inner
    outer = tuple(r.name for r in group.outer)
    heads = (tuple(first.root.reduced), tuple(r for r in last.root.free if r.name not in outer))
    contraction, bottom = contraction_of(first), contraction_of(last)
    row = max((r for r in contraction.rows if r in middle.outer and r in bottom.rows), key=lambda r: typical(r.extent))
    whole = tuple((_head(group, ranks), power_above(_extent(ranks))) for ranks in heads)
    names = (*outer, inner.name, *(r.name for ranks in heads for r in ranks))
    wide = bound.operands[contraction.left.tensor].memory.dtype.bits >= 32
    found: list[KernelSchedule] = []
    for rows, step, warps, stages in (CHAIN_TILES_WIDE if wide else CHAIN_TILES):
        height = min(rows, max(16, power_above(typical(row.extent))))
        width = min(step, max(16, power_above(typical(inner.extent))))
        schedule = KernelSchedule(
            name,
            group.names,
            "chain",
            ((row.name, height), (inner.name, width), *whole),
            names,
            outer,
            None,
            joined=_joined(group, *heads),
            launch=GpuLaunch(warps, stages),
        )
        if schedule not in found:
            found.append(schedule)
    return tuple(found)


def nest_schedule(bound: Bound, target: Gpu, name: str) -> KernelSchedule:
    """How a nest is computed: a map by its points, reductions by rows, whole ones if they are short."""
    return cut_sums(_nest(bound, target, name), bound, bound.group.members)


def _nest(bound: Bound, target: Gpu, name: str) -> KernelSchedule:
    group = bound.group
    outer = _memory_order(bound, group.outer)
    if not group.inner:
        return _map(bound, outer, name)
    total, row = _extent(outer), _extent(group.inner)
    along = _adjacent_rank(bound, (*outer, *group.inner))
    is_row = along is None or along in {r.name for r in group.inner}
    ordered_only = any(e.reduce == "last" for e in group.members)
    enough = total >= target.multiprocessors * 4 * WARP
    inner = tuple(r.name for r in group.inner)
    outer_names = tuple(r.name for r in outer)
    if ordered_only or (enough and row <= SHORT_ROW and not is_row):
        tiles = _outer_tile(group, outer, ELEMENTS // 4)
        return _nest_schedule(group, name, (*outer_names, *inner), outer_names, tiles, _joined(group, outer), 4)
    if is_row or not outer:
        width = min(power_above(row), LARGEST_ROW if _is_static(group.inner) else ROW_ELEMENTS)
        height = max(1, min(power_above(total), ROW_ELEMENTS // width // 2, max(1, total // (2 * target.multiprocessors))))
        height = power_above(height + 1) // 2
    else:
        height = min(power_above(total), max(WARP, min(LANES, power_above(typical(_rank(outer, along).extent)))))
        width = min(power_above(row), ROW_ELEMENTS // height)
    tiles = (*_outer_tile(group, outer, height), (_head(group, group.inner), width))
    joined = _joined(group, outer, group.inner)
    warps = max(1, min(16, power_above(height * width) // (WARP * 16)))
    return _nest_schedule(group, name, (*outer_names, *inner), outer_names, tiles, joined, max(warps, 4 if height * width >= 512 else 1))


def _rank(ranks: tuple[Rank, ...], name: str | None) -> Rank:
    return next(r for r in ranks if r.name == name)


def _is_static(ranks: tuple[Rank, ...]) -> bool:
    return all(r.extent.is_constant for r in ranks)


def _outer_tile(group: Group, outer: tuple[Rank, ...], size: int) -> tuple[tuple[str, int], ...]:
    return ((_head(group, outer), size),) if outer else ()


def _nest_schedule(
    group: Group,
    name: str,
    order: tuple[str, ...],
    parallel: tuple[str, ...],
    tiles: tuple[tuple[str, int], ...],
    joined: tuple[tuple[str, tuple[str, ...]], ...],
    warps: int,
) -> KernelSchedule:
    return KernelSchedule(name, group.names, group.kind, tiles, order, parallel, None, joined=joined, launch=GpuLaunch(warps, 2))


def _map(bound: Bound, outer: tuple[Rank, ...], name: str) -> KernelSchedule:
    """A map: all ranks as one, unless it reads along one rank and writes along another."""
    group = bound.group
    names = tuple(r.name for r in outer)
    if not outer:
        return _nest_schedule(group, name, (), (), (), (), 1)
    walked = _adjacent_ranks(bound, outer)
    if len(walked) > 1:
        a, b = (r for r in outer if r.name in walked[:2])
        tiles = tuple((r.name, min(SIDE, power_above(typical(r.extent)))) for r in (a, b))
        return _nest_schedule(group, name, names, names, tiles, (), 4)
    # Four elements a thread at least, which one load brings.
    weight = max(1, min(2, _cost(group) // 64))
    size = max(WARP, min(ELEMENTS // power_above(weight), power_above(_extent(outer))))
    warps = 4 if size >= 4 * WARP else 1
    return _nest_schedule(group, name, names, names, ((_head(group, outer), size),), _joined(group, outer), warps)


def _cost(group: Group) -> int:
    """Arithmetic of one point of a group, in instructions."""
    parts = [part for e in group.members for part in (e.expression, e.where) if part is not None]
    return sum(OPERATORS[node.operator].cost for part in parts for node in walk(part) if hasattr(node, "operator"))


def _accesses(bound: Bound) -> list[Load]:
    """Every access to memory, stores first."""
    found = [Load(n, e.index) for e in bound.group.members for n, _ in e.targets if n in bound.operands]
    for einsum in bound.group.members:
        for part in (einsum.expression, einsum.where):
            found += [load for load in loads(part) if load.tensor in bound.operands] if part is not None else []
    return found


def _adjacent_ranks(bound: Bound, ranks: tuple[Rank, ...]) -> list[str]:
    """The long ranks along which whole tensors are walked by neighbours: of stores first, each once."""
    found: dict[str, None] = {}
    long = [r for r in ranks if typical(r.extent) >= SIDE // 4]
    for access in _accesses(bound):
        used = {v for i in access.index for v in index_variables(i)}
        for rank in long:
            walks = [r.name for r in long if r.name in used]
            if len(walks) > 1 and stride_along(bound.operands[access.tensor], access.index, rank.name) == 1:
                found.setdefault(rank.name)
    return list(found)


def _adjacent_rank(bound: Bound, ranks: tuple[Rank, ...]) -> str | None:
    """The rank along which most accesses walk by neighbours, loads of many elements counting most."""
    votes: dict[str, int] = {}
    for access in _accesses(bound):
        size = prod(typical(e) for e in bound.operands[access.tensor].memory.shape)
        for rank in ranks:
            if stride_along(bound.operands[access.tensor], access.index, rank.name) == 1 and typical(rank.extent) > 1:
                votes[rank.name] = votes.get(rank.name, 0) + size
    return max(votes, key=lambda n: votes[n], default=None)


def _memory_order(bound: Bound, ranks: tuple[Rank, ...]) -> tuple[Rank, ...]:
    """Ranks by falling stride in the largest stored tensor."""
    stored = [(bound.operands[n], e) for e in bound.group.members for n, _ in e.targets if n in bound.operands]
    if not stored:
        return ranks
    operand, einsum = max(stored, key=lambda s: len(s[1].index))
    return tuple(sorted(ranks, key=lambda r: -(stride_along(operand, einsum.index, r.name) or 0)))


def scan_schedule(bound: Bound, target: Gpu, name: str) -> KernelSchedule:
    """How an iteration is computed: as many independent ones side by side as give every warp full lanes, and the chip enough instances.

    One that only folds takes tiles along its rank, unless there are neighbours enough to step through side by side.
    """
    group = bound.group
    outer = _memory_order(bound, group.outer)
    names = tuple(r.name for r in outer)
    assert group.iterative is not None
    rows, along = _extent(outer), _adjacent_rank(bound, (*outer, group.iterative))
    is_wide = along in names and rows >= WARP * target.multiprocessors
    if isinstance(group.fact, Prefix) and not is_wide:
        width = min(ELEMENTS, power_above(typical(group.iterative.extent)))
        height = min(power_above(rows), max(1, ELEMENTS // width))
        return KernelSchedule(
            name,
            group.names,
            group.kind,
            (*(((_head(group, outer), height),) if outer else ()), (group.iterative.name, width)),
            (*names, group.iterative.name),
            names,
            None,
            joined=_joined(group, outer),
            launch=GpuLaunch(4 if width * height >= 4 * WARP else 1, 2),
            registers=LARGEST_IN_WARP * (4 if width * height >= 4 * WARP else 1),
        )
    size = min(LANES, max(WARP, power_above(_extent(outer)) // 64)) if outer else 1
    tiles = ((_head(group, outer), size),) if outer else ()
    return KernelSchedule(
        name,
        group.names,
        group.kind,
        tiles,
        names,
        names,
        None,
        joined=_joined(group, outer),
        launch=GpuLaunch(max(1, size // WARP), 2),
        registers=LARGEST_IN_WARP * max(1, size // WARP),
    )


def scatter_schedule(bound: Bound, name: str, *, is_atomic: bool) -> KernelSchedule:
    """How a scatter is computed: all points at once where they may be, or else one after another."""
    group = bound.group
    (einsum,) = group.members
    outer = _memory_order(bound, group.outer)
    if is_concurrent(einsum, is_atomic=is_atomic):
        ranks = (*einsum.reduced, *outer)
        size = max(WARP, min(ELEMENTS // 2, power_above(_extent(ranks))))
    else:
        ranks = outer
        size = min(LANES, power_above(_extent(ranks))) if ranks else 1
    names = tuple(r.name for r in ranks)
    tiles = ((_head(group, ranks), size),) if ranks else ()
    order = (*names, *(r.name for r in einsum.reduced if r.name not in names))
    launch = GpuLaunch(max(1, min(4, size // WARP)), 2)
    return KernelSchedule(name, group.names, group.kind, tiles, order, names, None, launch, _joined(group, ranks))
