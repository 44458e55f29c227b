"""First tile choices: a schedule for each group from its access patterns, by rule. A tuner replaces these.

A rank of a tile is split as `rank = size * rank.1 + rank.0`; `rank.0` is an axis of register blocks, `rank.1` a loop. Tiles are listed
outermost first, so a rank may be split twice: (i:4096, i:64) gives chunks of 4096 for the threads and vectors of 64 inside.
"""

from __future__ import annotations

from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.expressions import Index, Load
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.schedule import CpuLaunch, KernelSchedule
from tcomp.ir.target import Cpu
from tcomp.ir.walk import index_variables, walk
from tcomp.passes.bind.arguments import Bound, bound_part, element_dtype, stride_along
from tcomp.passes.cost.cpu import VECTOR_COUNTS, choose_tile, fits_registers, partial_sum_tile
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import find_contraction, panel_of
from tcomp.passes.einsums.facts import is_long_sum
from tcomp.passes.einsums.group import Group
from tcomp.passes.guess.chain import find_row
from tcomp.passes.schedule.cpu_iteration import needs_own_lanes, tile_members
from tcomp.passes.schedule.partial_sums import cut_sums

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

ENOUGH_INSTANCES = 8
"""Parallel instances per core above which inner loops stay serial inside an instance."""


def choose_schedule(bound: Bound, target: Cpu, name: str) -> KernelSchedule:
    """Choose loops, tiles and lanes of a group's kernel."""
    group = bound.group
    if group.kind == "contract":
        return _contract(bound, target, name)
    if group.kind == "nest":
        return cut_sums(_nest(bound, target, name), bound, group.members)
    if group.kind == "chain":
        return cut_sums(_chain(bound, target, name), bound, bound_part(group.parts[1], {e.name: e for e in group.members}, group).members)
    lanes = _best_lanes(bound, group.outer)
    tiles = ((lanes, _width(_extent(group.outer, lanes), target, bound, 1)),) if lanes is not None else ()
    order = tuple(r.name for r in group.outer)
    extent = typical(_extent(group.outer, lanes)) if lanes is not None else 0
    registers = LARGEST_IN_BLOCKS if group.kind == "scan" else 0
    if group.kind == "scan" and needs_own_lanes(group, extent, target.lanes(compute_dtype(group.root.dtype))):
        own = tile_members(bound, lambda extent: _width(extent, target, bound, VECTORS // 2))
        return KernelSchedule(name, group.names, group.kind, own, order, order, None, registers=registers)
    return KernelSchedule(name, group.names, group.kind, tiles, order, order, lanes, registers=registers)


def _extent(ranks: tuple[Rank, ...], name: str) -> Index:
    return next(r.extent for r in ranks if r.name == name)


def _contract(bound: Bound, target: Cpu, name: str) -> KernelSchedule:
    group = bound.group
    root = group.members[0]
    lanes_rank, width = _lane_panels(root)
    per_vector = target.lanes(compute_dtype(root.dtype))
    rows = [r for r in group.outer if r.name != lanes_rank and _reads_left_only(root, r.name, lanes_rank)]
    row = max(rows, key=lambda r: (min(typical(r.extent), 8), r is rows[-1])) if rows else None
    extent = typical(row.extent) if row is not None else 1
    lane_extent = typical(_extent(group.outer, lanes_rank))
    vectors = None if width is None else -(-width // per_vector)
    height, count = choose_tile(extent, lane_extent, per_vector, target, vectors)
    tiles = [(row.name, height)] if row is not None and height > 1 else []
    tiles.append((lanes_rank, width if width is not None else min(count * per_vector, _whole(lane_extent, per_vector))))
    shared = [r.name for r in group.outer if r.name != lanes_rank and r not in rows]
    others = [r.name for r in rows if row is None or r.name != row.name]
    order = (*shared, lanes_rank, *others, *([row.name] if row is not None else []))
    prefetch = _worth_prefetching(bound, root, (lanes_rank, width), row, height, target)
    partial = partial_sum_tile(root.reduced) if compute_dtype(root.dtype).is_float else None
    tiles += [partial] if partial is not None else []
    reduced = tuple(r.name for r in root.reduced)
    return KernelSchedule(name, group.names, "contract", tuple(tiles), (*order, *reduced), order, lanes_rank, CpuLaunch(prefetch))


def _chain(bound: Bound, target: Cpu, name: str) -> KernelSchedule:
    """Rows by the widest tiles that fit for either contraction; the nest walks the rows in the first one's panels."""
    group = bound.group
    first, middle, last = group.parts
    found = find_row(group, target)
    assert found is not None, "a chain without a tile of rows is not wanted"
    row, rows = found
    lanes = target.lanes(compute_dtype(first.root.dtype))
    inner, width = _lane_panels(first.root)
    final, panel = _lane_panels(last.root)
    counts = [v for v in VECTOR_COUNTS if fits_registers(rows, v, target)]
    width = width or _even_width(typical(_extent(middle.inner, inner)), lanes, counts)
    panel = panel or _even_width(typical(_extent(last.outer, final)), lanes, counts)
    outer = tuple(r.name for r in group.outer)
    reduced = tuple(r.name for e in (first.root, last.root) for r in e.reduced if r.name != inner)
    tiles = ((row, rows), (inner, width), (final, panel))
    return KernelSchedule(name, group.names, "chain", tiles, (*outer, inner, final, *reduced), outer, inner)


def _even_width(extent: int, lanes: int, counts: list[int]) -> int:
    """The widest allowed tile that divides an extent in whole vectors, in elements."""
    vectors = -(-extent // lanes)
    return max(count for count in counts if vectors % count == 0) * lanes


def _worth_prefetching(
    bound: Bound, root: Einsum, panel: tuple[str, int | None], row: Rank | None, height: int, target: Cpu
) -> tuple[str, ...]:
    """The packed operand, if it has a next panel, is too large to stay in cache between uses, and a few tiles share each panel."""
    lanes, width = panel
    rows = [r for r in bound.group.outer if r.name != lanes and _reads_left_only(root, r.name, lanes)]
    extents = [r.extent for r in (*rows, *root.reduced)]
    if width is None or row is None or not all(e.is_constant for e in extents):
        return ()
    extent = _extent(bound.group.outer, lanes)
    if extent.is_constant and extent.constant <= width:
        # Many matrices of one panel each (a product of batches): what comes next is for another instance.
        return ()
    tiles = prod(r.extent.constant for r in rows if r != row) * -(-row.extent.constant // height)
    if not 1 < tiles < MANY_TILES:
        return ()
    loads_ = (node for node in walk(root.expression) if isinstance(node, Load))
    packed = [n.tensor for n in loads_ if panel_of(n) is not None and n.tensor in bound.operands]
    return tuple(n for n in packed if _elements(bound, n) * bound.operands[n].memory.dtype.bytes > target.l2 // 2)


def _elements(bound: Bound, name: str) -> int:
    return prod(typical(extent) for extent in bound.operands[name].memory.shape)


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


def _lane_panels(root: Einsum) -> tuple[str, int | None]:
    """The lanes of a contraction, and the panel width if the right operand is packed in panels."""
    contraction = find_contraction(root, {})
    assert contraction is not None
    panel = panel_of(contraction.right)
    return contraction.lanes.name, None if panel is None else panel[1]


def _best_lanes(bound: Bound, ranks: tuple[Rank, ...]) -> str | None:
    """The rank along which most accesses are adjacent or constant; None if there is no rank."""
    best: tuple[tuple[int, int, int], str] | None = None
    for position, rank in enumerate(ranks):
        adjacent = strided = 0
        for einsum in bound.group.members:
            for name, _ in einsum.targets:
                if name in bound.operands:
                    step = stride_along(bound.operands[name], einsum.index, rank.name)
                    adjacent, strided = adjacent + 2 * (step == 1), strided + 2 * (step not in (0, 1))
            for part in (einsum.expression, einsum.where, einsum.initial):
                for node in walk(part) if part is not None else ():
                    if isinstance(node, Load) and node.tensor in bound.operands:
                        step = stride_along(bound.operands[node.tensor], node.index, rank.name)
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


def _nest(bound: Bound, target: Cpu, name: str) -> KernelSchedule:
    group = bound.group
    ordered = _memory_order(bound, group.outer)
    candidates = (*ordered, *group.inner)
    vectorizable = all(_vectorizes(e) for e in group.members if e.reduce is not None)
    lanes = _best_lanes(bound, candidates if vectorizable else ordered)
    inner = tuple(r.name for r in group.inner)
    if lanes is None:
        return KernelSchedule(name, group.names, "nest", (), inner, (), None)
    outer = [r.name for r in ordered if r.name != lanes]
    if lanes in inner:
        width = _width(_extent(group.inner, lanes), target, bound)
        inner = (*(n for n in inner if n != lanes), lanes)
        return KernelSchedule(name, group.names, "nest", ((lanes, width),), (*outer, *inner), tuple(outer), lanes)
    extent = _extent(group.outer, lanes)
    width = _width(extent, target, bound)
    blocks = -(-typical(extent) // width)
    instances = 1
    for rank in group.outer:
        instances *= 1 if rank.name == lanes else typical(rank.extent)
    order = (*outer, lanes, *inner)
    if group.inner:
        row = _shared_rows(group, outer)
        if row is None:
            return KernelSchedule(name, group.names, "nest", ((lanes, width),), order, (*outer, lanes), lanes)
        width = _width(extent, target, bound, VECTORS // 2)
        return KernelSchedule(name, group.names, "nest", (row, (lanes, width)), order, (*outer, lanes), lanes)
    if instances >= ENOUGH_INSTANCES * target.cores:
        return KernelSchedule(name, group.names, "nest", ((lanes, width),), order, tuple(outer), lanes)
    chunk = max(d for d in range(1, min(blocks, LARGEST_CHUNK) + 1) if blocks % d == 0)
    tiles = ((lanes, chunk * width), (lanes, width)) if chunk > 1 else ((lanes, width),)
    return KernelSchedule(name, group.names, "nest", tiles, order, (*outer, lanes), lanes)


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
