"""Tile choices on a CPU: a schedule for each group from its access patterns, by rule, and others that are worth a measurement.

A rank of a tile is split as `rank = size * rank.1 + rank.0`; `rank.0` is an axis of register blocks, `rank.1` a loop. Tiles are listed
outermost first, so a rank may be split twice: (i:4096, i:64) gives chunks of 4096 for the threads and vectors of 64 inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import compute_dtype, f32
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Index, Load
from tcomp.ir.index import is_data
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.schedule import CpuLaunch, KernelSchedule
from tcomp.ir.target import Cpu
from tcomp.ir.traverse import einsum_loads
from tcomp.ir.walk import index_variables, walk
from tcomp.passes.bind.arguments import Bound, Operand, element_dtype, is_paired, step_along, stride_along
from tcomp.passes.cost.cpu import VECTOR_COUNTS, fits_registers, partial_sum_tile, rank_tiles
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import Contraction, contraction_of
from tcomp.passes.einsums.facts import is_long_sum
from tcomp.passes.einsums.group import PARTS, Group, own_ranks
from tcomp.passes.schedule.cpu_iteration import needs_own_lanes, tile_members
from tcomp.passes.schedule.partial_sums import cut_sums
from tcomp.passes.schedule.rows import SMALLEST_ROWS, find_row

VECTORS = 4
"""Vectors of one block in an elementwise loop or a reduction: enough independent accumulators to hide latency."""

LARGEST_CHUNK = 64
"""Blocks of one parallel instance of an elementwise loop."""

LARGEST_ROWS = 4
"""Rows of a reduction's tile that share loads: with half the vectors, as many accumulators as without."""

MANY_TILES = 64
"""Tiles that share a panel above which the cost of its first, cold use no longer shows."""

LARGEST_IN_BLOCKS = 512
"""Elements of all blocks, and of the points of one statement, up to which an iteration runs in the registers of one core."""

ENOUGH_POINTS = 1024
"""Points of a nest from which on both parts of the pairs that it reads are read at once."""

MOST_TURNED = 8
"""Members of a nest up to which it has a tile of rows to read turned pairs in: each row is code of its own."""

ENOUGH_INSTANCES = 8
"""Parallel instances per core above which inner loops stay serial inside an instance."""


MORE_TILES = 4
"""Tiles of a contraction that are tried beside the one of fewest cycles: what is counted differs from what is measured by as much."""


def contract_candidates(bound: Bound, target: Cpu, name: str) -> Iterator[KernelSchedule]:
    """Schedules of a contraction, the most promising one first."""
    first = _contract(bound, target, name)
    yield first
    yield from _other_contracts(bound, target, name, first)


def nest_candidates(bound: Bound, target: Cpu, name: str) -> Iterator[KernelSchedule]:
    """Schedules of a nest, the most promising one first."""
    yield _nest(bound, target, name)
    yield from _other_nests(bound, target, name)


def chain_candidates(bound: Bound, target: Cpu, name: str) -> Iterator[KernelSchedule]:
    """Schedules of a chain, the most promising one first."""
    yield _chain(bound, target, name)
    yield from _other_chains(bound, target, name)


def walk_candidates(bound: Bound, target: Cpu, name: str) -> Iterator[KernelSchedule]:
    """Schedules of an iteration or a scatter, the most promising one first."""
    for vectors in (1, 2, VECTORS):
        yield _walk(bound, target, name, vectors)


def _walk(bound: Bound, target: Cpu, name: str, vectors: int = 1) -> KernelSchedule:
    """An iteration or a scatter: so many vectors along a rank that all its points share, and serial loops over the rest."""
    group = bound.group
    lanes = _best_lanes(bound, group.outer)
    tiles = ((lanes, _width(_extent(group.outer, lanes), target, bound, vectors)),) if lanes is not None else ()
    order = tuple(r.name for r in group.outer)
    extent = typical(_extent(group.outer, lanes)) if lanes is not None else 0
    registers = LARGEST_IN_BLOCKS if group.kind == "scan" else 0
    if group.kind == "scan" and needs_own_lanes(group, extent, target.lanes(compute_dtype(group.root.dtype))):
        own = tile_members(bound, lambda extent: _width(extent, target, bound, vectors * VECTORS // 2))
        return KernelSchedule(name, group.names, group.kind, own, order, order, None, registers=registers)
    return KernelSchedule(name, group.names, group.kind, tiles, order, order, lanes, registers=registers)


def _extent(ranks: tuple[Rank, ...], name: str) -> Index:
    return next(r.extent for r in ranks if r.name == name)


def _contract(bound: Bound, target: Cpu, name: str, rank: int = 0) -> KernelSchedule:
    """A contraction with the tile of fewest cycles, or with the one of this rank among all tiles."""
    group = bound.group
    root = group.members[0]
    contraction = contraction_of(group)
    lanes_rank, width = contraction.lanes.name, contraction.fact.panel
    per_vector = target.lanes(compute_dtype(root.dtype))
    rows = [r for r in group.outer if r.name != lanes_rank and _reads_left_only(root, r.name, lanes_rank)]
    row = max(rows, key=lambda r: (min(typical(r.extent), 8), r is rows[-1])) if rows else None
    extent = typical(row.extent) if row is not None else 1
    lane_extent = typical(_extent(group.outer, lanes_rank))
    vectors = None if width is None else -(-width // per_vector)
    ranked = rank_tiles(extent, lane_extent, per_vector, target, vectors)
    height, count = ranked[min(rank, len(ranked) - 1)]
    tiles = [(row.name, height)] if row is not None and height > 1 else []
    tiles.append((lanes_rank, width if width is not None else min(count * per_vector, _whole(lane_extent, per_vector))))
    shared = [r.name for r in group.outer if r.name != lanes_rank and r not in rows]
    others = [r.name for r in rows if row is None or r.name != row.name]
    order = (*shared, lanes_rank, *others, *([row.name] if row is not None else []))
    prefetch = _worth_prefetching(bound, contraction, row, height, target)
    partial = partial_sum_tile(root.reduced) if compute_dtype(root.dtype).is_float else None
    tiles += [partial] if partial is not None else []
    reduced = tuple(r.name for r in root.reduced)
    return KernelSchedule(name, group.names, "contract", tuple(tiles), (*order, *reduced), order, lanes_rank, CpuLaunch(prefetch))


def _other_contracts(bound: Bound, target: Cpu, name: str, first: KernelSchedule) -> list[KernelSchedule]:
    """Without prefetching, with the lanes inside all rows, so that a tile's rows are read from the nearest cache, and with other tiles."""
    assert first.lanes is not None
    shared = first.parallel[: first.parallel.index(first.lanes)]
    rows = first.parallel[len(shared) + 1 :]
    parallel = (*shared, *rows, first.lanes)
    order = (*parallel, *first.order[len(parallel) :])
    found = [replace(first, launch=CpuLaunch()), replace(first, launch=CpuLaunch(), order=order, parallel=parallel)]
    return [*found, *(_contract(bound, target, name, rank) for rank in range(1, MORE_TILES + 1))]


def _chain(
    bound: Bound, target: Cpu, name: str, rows: int | None = None, most: tuple[int, int] = (VECTOR_COUNTS[-1], VECTOR_COUNTS[-1])
) -> KernelSchedule:
    """Rows by the widest tiles that fit for either contraction; the nest walks the rows in the first one's panels.

    Other tiles have other `rows`, a divisor of all, and `most` so many vectors in either contraction.
    """
    group = bound.group
    first, middle, last = group.parts
    row, largest = _row(group, target)
    rows = rows or largest
    lanes = target.lanes(compute_dtype(first.root.dtype))
    (inner, width), (final, panel) = ((c.lanes.name, c.fact.panel) for c in map(contraction_of, (first, last)))
    counts = [v for v in VECTOR_COUNTS if fits_registers(rows, v, target)]
    width = width or _even_width(typical(_extent(middle.inner, inner)), lanes, [c for c in counts if c <= most[0]])
    panel = panel or _even_width(typical(_extent(last.outer, final)), lanes, [c for c in counts if c <= most[1]])
    outer = tuple(r.name for r in group.outer)
    reduced = tuple(r.name for e in (first.root, last.root) for r in e.reduced if r.name != inner)
    tiles = ((row, rows), (inner, width), (final, panel))
    schedule = KernelSchedule(name, group.names, "chain", tiles, (*outer, inner, final, *reduced), outer, inner)
    return cut_sums(schedule, bound, middle.members)


def _other_chains(bound: Bound, target: Cpu, name: str) -> list[KernelSchedule]:
    """With narrower tiles in either contraction, and with fewer rows, which leave registers to wider ones."""
    row, largest = _row(bound.group, target)
    extent = _extent(bound.group.outer, row)
    fewer = [rows for rows in range(SMALLEST_ROWS, largest) if extent.constant % rows == 0]
    widest = VECTOR_COUNTS[-1]
    narrow = [_chain(bound, target, name, most=most) for count in (2, 1) for most in ((count, widest), (widest, count))]
    return [*(_chain(bound, target, name, rows) for rows in reversed(fewer[-2:])), *narrow]


def _row(group: Group, target: Cpu) -> tuple[str, int]:
    """The rank of a chain's row tile, and its largest size. Raises Illegal if there is none, which a guess does not chain."""
    found = find_row(group, target)
    if found is None:
        raise Illegal(
            "no tile of rows fits the registers in both contractions",
            where=f"the chain of {', '.join(group.names)}",
            help="give its parts kernels of their own",
        )
    return found


def _even_width(extent: int, lanes: int, counts: list[int]) -> int:
    """The widest allowed tile that divides an extent in whole vectors, in elements."""
    vectors = -(-extent // lanes)
    return max(count for count in counts if vectors % count == 0) * lanes


def _worth_prefetching(
    bound: Bound, contraction: Contraction, row: Rank | None, height: int, target: Cpu
) -> tuple[str, ...]:
    """The packed operand, if it has a next panel, is too large to stay in cache between uses, and a few tiles share each panel."""
    root, right = bound.group.root, contraction.right.tensor
    lanes, width = contraction.lanes.name, contraction.fact.panel
    rows = [r for r in bound.group.outer if r.name != lanes and _reads_left_only(root, r.name, lanes)]
    extents = [r.extent for r in (*rows, *root.reduced)]
    # Where data choose what a tile reads, the next panel is not the next one in memory.
    if width is None or row is None or not all(e.is_constant for e in extents) or any(map(is_data, contraction.right.index)):
        return ()
    extent = _extent(bound.group.outer, lanes)
    if extent.is_constant and extent.constant <= width:
        # Many matrices of one panel each (a product of batches): what comes next is for another instance.
        return ()
    tiles = prod(r.extent.constant for r in rows if r != row) * -(-row.extent.constant // height)
    if not 1 < tiles < MANY_TILES:
        return ()
    operand = bound.operands.get(right)
    is_large = operand is not None and _elements(operand) * operand.memory.dtype.bytes > target.l2 // 2
    return (right,) if is_large else ()


def _elements(operand: Operand) -> int:
    return prod(typical(extent) for extent in operand.memory.shape)


def _whole(extent: int, lanes: int) -> int:
    return -(-extent // lanes) * lanes


def _reads_left_only(root: Einsum, name: str, lanes: str) -> bool:
    """Whether the operand that holds the lanes does not depend on a rank."""
    for node in walk(root.expression):
        if isinstance(node, Load):
            names = {v for i in node.index for v in index_variables(i)}
            if lanes in names and name in names:
                return False
    return True


def _best_lanes(bound: Bound, ranks: tuple[Rank, ...]) -> str | None:
    """The rank along which most accesses are adjacent or constant; None if there is no rank."""
    best: tuple[tuple[int, int, int], str] | None = None
    for position, rank in enumerate(ranks):
        adjacent = strided = 0
        for einsum in bound.group.members:
            for name, _ in einsum.targets:
                if name in bound.operands:
                    step = step_along(bound.operands[name], einsum.index, rank.name)
                    adjacent, strided = adjacent + 2 * (step == 1), strided + 2 * (step not in (0, 1))
            for part in (einsum.expression, einsum.where, einsum.initial):
                for node in walk(part) if part is not None else ():
                    if isinstance(node, Load) and node.tensor in bound.operands:
                        step = step_along(bound.operands[node.tensor], node.index, rank.name)
                        adjacent, strided = adjacent + (step == 1), strided + (step not in (0, 1))
        short = typical(rank.extent) < 4
        score = (adjacent - strided - (8 if short else 0), min(typical(rank.extent), 16), position)
        if best is None or score > best[0]:
            best = score, rank.name
    return None if best is None else best[1]


def _width(extent: Index, target: Cpu, bound: Bound, vectors: int = VECTORS) -> int:
    """Axis size along the lanes: whole vectors up to `vectors` of them, or the whole of a short rank."""
    dtypes = (element_dtype(e, bound) if is_long_sum(e) else compute_dtype(e.dtype) for e in bound.group.members)
    dtype = max(dtypes, key=lambda t: t.bits)
    lanes = target.lanes(dtype) if dtype.is_float or dtype.bits >= 32 else target.lanes(dtype) // (32 // dtype.bits)
    size = typical(extent)
    if size <= lanes:
        return size if extent.is_constant else lanes
    return min(vectors * lanes, -(-size // lanes) * lanes)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a nest may have one way or another."""

    lanes: str | None = None
    """The rank on vector lanes; None for the one that most accesses walk by neighbours."""
    vectors: int = VECTORS
    chunk: int = LARGEST_CHUNK
    has_rows: bool = True
    """Whether rows of a reduction share loads where they can."""


def _lane_ranks(bound: Bound, ordered: Sequence[Rank]) -> tuple[Rank, ...]:
    """The ranks that may lie on vector lanes."""
    group = bound.group
    vectorizable = all(_vectorizes(e) for e in group.members if e.reduce is not None)
    return (*ordered, *group.inner) if vectorizable else tuple(ordered)


_USUAL = _Shape()


def _nest(bound: Bound, target: Cpu, name: str, shape: _Shape = _USUAL) -> KernelSchedule:
    group = bound.group
    return cut_sums(_shape_nest(bound, target, name, shape), bound, group.members)


def _shape_nest(bound: Bound, target: Cpu, name: str, shape: _Shape) -> KernelSchedule:
    """A nest before its long sums are cut."""
    group = bound.group
    ordered = _memory_order(bound, group.outer)
    lanes = shape.lanes or _best_lanes(bound, _lane_ranks(bound, ordered))
    inner = tuple(r.name for r in group.inner)
    if lanes is None:
        return KernelSchedule(name, group.names, "nest", (), inner, (), None)
    outer = [r.name for r in ordered if r.name != lanes]
    parts = _pair_tiles(bound, lanes)
    if lanes in inner:
        width = _width(_extent(group.inner, lanes), target, bound, shape.vectors)
        inner = (*(n for n in inner if n != lanes), lanes)
        return KernelSchedule(name, group.names, "nest", (*parts, (lanes, width)), (*outer, *inner), tuple(outer), lanes)
    extent = _extent(group.outer, lanes)
    turned = _turned_rank(bound, lanes) if parts or any(own_ranks(group, e) for e in group.members) else None
    width = _width(extent, target, bound, shape.vectors if turned is None else 1)
    if turned is not None:
        parts = ((turned, min(width, _extent(group.outer, turned).constant)), *parts)
    blocks = -(-typical(extent) // width)
    instances = 1
    for rank in group.outer:
        instances *= 1 if rank.name == lanes else typical(rank.extent)
    order = (*outer, lanes, *inner)
    if group.inner:
        row = _shared_rows(group, outer) if shape.has_rows and not parts else None
        if row is None:
            return KernelSchedule(name, group.names, "nest", (*parts, (lanes, width)), order, (*outer, lanes), lanes)
        width = _width(extent, target, bound, max(1, shape.vectors // 2))
        return KernelSchedule(name, group.names, "nest", (row, (lanes, width)), order, (*outer, lanes), lanes)
    if instances >= ENOUGH_INSTANCES * target.cores:
        return KernelSchedule(name, group.names, "nest", (*parts, (lanes, width)), order, tuple(outer), lanes)
    chunk = max(d for d in range(1, min(blocks, shape.chunk) + 1) if blocks % d == 0)
    tiles = ((lanes, chunk * width), (lanes, width)) if chunk > 1 else ((lanes, width),)
    return KernelSchedule(name, group.names, "nest", (*parts, *tiles), order, (*outer, lanes), lanes)


def _pair_tiles(bound: Bound, lanes: str) -> tuple[tuple[str, int], ...]:
    """Tiles that hold whole pairs: of each rank over the parts of pairs that lie along the lanes and are written, or read often enough."""
    group = bound.group
    ranks = {r.name: r for r in (*group.outer, *group.inner)}
    parts = {name for name, r in ranks.items() if r.extent == PARTS and r in group.outer and name != lanes}
    found: dict[str, None] = {}
    accesses = [Load(name, e.index) for e in group.members for name, _ in e.targets]
    if prod(typical(r.extent) for r in ranks.values()) >= ENOUGH_POINTS:
        accesses += [load for e in group.members for load in einsum_loads(e)]
    for access in accesses:
        operand = bound.operands.get(access.tensor)
        part = access.index[-1].as_variable if access.index else None
        if operand is not None and is_paired(operand.memory) and part in parts and step_along(operand, access.index, lanes) == 1:
            found[part] = None
    return tuple((name, PARTS.constant) for name in found)


def _turned_rank(bound: Bound, lanes: str) -> str | None:
    """The rank along which pairs are neighbours in memory that lie far apart along the lanes: a tile of it reads whole cache lines."""
    members = bound.group.members
    if bound.group.inner or len(members) > MOST_TURNED:
        return None
    for load in (load for e in members for load in einsum_loads(e)):
        operand = bound.operands.get(load.tensor)
        if operand is None or not is_paired(operand.memory) or step_along(operand, load.index, lanes) in (0, 1):
            continue
        for rank in bound.group.outer:
            if rank.name != lanes and rank.extent.is_constant and step_along(operand, load.index, rank.name) == 1 and rank.extent != PARTS:
                return rank.name
    return None


def _other_nests(bound: Bound, target: Cpu, name: str) -> list[KernelSchedule]:
    """With other numbers of vectors, other chunks for threads, without rows that share loads, and with the lanes along other ranks."""
    ordered = _memory_order(bound, bound.group.outer)
    best = _best_lanes(bound, _lane_ranks(bound, ordered))
    others = [r.name for r in _lane_ranks(bound, ordered) if r.name != best and typical(r.extent) >= target.lanes(f32)]
    shapes = [_Shape(vectors=vectors) for vectors in (2 * VECTORS, VECTORS // 2, 1)]
    shapes += [_Shape(chunk=LARGEST_CHUNK // 8), _Shape(chunk=LARGEST_CHUNK * 8), _Shape(has_rows=False)]
    return [_nest(bound, target, name, shape) for shape in (*shapes, *map(_Shape, others[-2:]))]


def _shared_rows(group: Group, outer: list[str]) -> tuple[str, int] | None:
    """A tile of rows that share a load of a reduction: the innermost rank that some load does not depend on, and a divisor of it."""
    extents = {r.name: r.extent for r in group.outer}
    for name in reversed(outer):
        shared = any(
            isinstance(node, Load) and not any(name in index_variables(i) for i in node.index) and any(node.index)
            for e in group.members
            if e.reduce is not None
            for node in walk(e.expression)
        )
        divisors = [d for d in range(2, LARGEST_ROWS + 1) if extents[name].is_constant and extents[name].constant % d == 0]
        if shared and divisors:
            return name, divisors[-1]
    return None


def _vectorizes(einsum: Einsum) -> bool:
    """Whether a reduction can keep one partial state per lane and merge them at the end."""
    assert einsum.reduce is not None
    return MONOIDS[einsum.reduce].arity == 1


def _memory_order(bound: Bound, ranks: tuple[Rank, ...]) -> tuple[Rank, ...]:
    """Ranks by falling stride in the largest stored tensor, so that outer loops make large steps."""
    stored = [(bound.operands[n], e) for e in bound.group.members for n, _ in e.targets if n in bound.operands]
    if not stored:
        return ranks
    operand, einsum = max(stored, key=lambda s: len(s[1].index))

    def step(rank: Rank) -> int:
        return -(stride_along(operand, einsum.index, rank.name) or 0)

    return tuple(sorted(ranks, key=step))
