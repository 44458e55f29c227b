"""Register tiles of contractions, chosen by counting cycles.

A tile of `rows` broadcast elements by `vectors` vector registers keeps rows * vectors accumulators in registers. One step along the
reduced ranks costs the largest of: its fused multiply-adds over two ports, its loads over two ports, and the latency of one
multiply-add (an accumulator waits for itself). Tiles that do not divide the extents leave a smaller tile at the end.
"""

from __future__ import annotations

from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.target import Cpu
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import Contraction

FMA_LATENCY = 4
FMA_PORTS = 2
LOAD_PORTS = 2
PANEL_CYCLES = 0.25
"""Cycles lost for each vector of the right operand, which comes from the second-level cache (measured: 8x48 beats 4x96 by 13 to 30 %)."""

LOAD_WEIGHT = 0.2
"""Relative cost of one load for each multiply-add; with PANEL_CYCLES it orders nine tiles over seven shapes as measured."""

TAIL_PENALTY = 0.02
"""Relative cost of a tile that does not divide: its code is larger and its last piece runs behind branches."""

LONGEST_SUM = 128
"""Products of one partial sum: its one more addition of the tile costs 2 % of the multiply-adds."""

SHORTEST_SUM = 24
"""Shorter partial sums would cost more than they are worth."""

VECTOR_COUNTS = (1, 2, 3, 4, 6, 8)
LARGEST_ROWS = 16


def fits_registers(rows: int, vectors: int, target: Cpu) -> bool:
    """Accumulators, one vector of the right operand each, and one broadcast element must fit."""
    return rows * vectors + vectors + 1 <= target.vector_registers


def step_cycles(rows: int, vectors: int) -> float:
    """Cycles of one step along the reduced ranks for one tile."""
    busy = max(rows * vectors / FMA_PORTS, (rows + vectors) / LOAD_PORTS, float(FMA_LATENCY))
    return busy + vectors * PANEL_CYCLES


def sweep_cycles(rows: int, vectors: int, row_extent: int, vector_extent: int) -> float:
    """Cycles of one step of all tiles that cover `row_extent` rows by `vector_extent` vectors."""
    total = 0.0
    for count, height in ((row_extent // rows, rows), (1, row_extent % rows)):
        for panels, width in ((vector_extent // vectors, vectors), (1, vector_extent % vectors)):
            if height and width and count and panels:
                total += count * panels * step_cycles(height, width)
    return total


def choose_tile(row_extent: int, lane_extent: int, lanes: int, target: Cpu, vectors: int | None = None) -> tuple[int, int]:
    """Choose (rows, vectors) for a tile with the fewest cycles; ties go to the fewest loads, then to the widest tile."""
    return rank_tiles(row_extent, lane_extent, lanes, target, vectors)[0]


def rank_tiles(row_extent: int, lane_extent: int, lanes: int, target: Cpu, vectors: int | None = None) -> list[tuple[int, int]]:
    """The tiles (rows, vectors) that fit registers, of `vectors` if stated, by the cost that `choose_tile` goes by; never none."""
    vector_extent = -(-lane_extent // lanes)
    counts = [v for v in VECTOR_COUNTS if v <= vector_extent] if vectors is None else [vectors]
    choices = [
        (rows, count)
        for count in counts
        for rows in range(1, min(row_extent, LARGEST_ROWS) + 1)
        if fits_registers(rows, count, target)
    ]
    if not choices:
        return [(1, counts[0])]

    def cost(choice: tuple[int, int]) -> tuple[float, float, int]:
        rows, count = choice
        loads = (rows + count) / (rows * count)
        tails = (row_extent % rows != 0) + (vector_extent % count != 0)
        cycles = sweep_cycles(rows, count, row_extent, vector_extent)
        return cycles * (1 + loads * LOAD_WEIGHT + tails * TAIL_PENALTY), loads, -rows * count

    return sorted(choices, key=cost)


def partial_sum_tile(reduced: tuple[Rank, ...]) -> tuple[str, int] | None:
    """Where to cut a long sum into partial sums: (rank, steps), `steps` of that rank and all ranks after it making one partial sum.

    Rounding errors of a sum in one accumulator grow with the root of its length; partial sums of at most `LONGEST_SUM` products
    keep them at the root of that, for one addition of the tile in each. None if the sum is short or nothing divides it.
    """
    if prod(typical(r.extent) for r in reduced) <= LONGEST_SUM + LONGEST_SUM // 2:
        return None
    inner = 1
    for rank in reversed(reduced):
        if not rank.extent.is_constant:
            return None
        extent = rank.extent.constant
        if inner * extent > LONGEST_SUM:
            steps = max(d for d in range(1, LONGEST_SUM // inner + 1) if extent % d == 0)
            return (rank.name, steps) if inner * steps >= SHORTEST_SUM else None
        inner *= extent
    return None


def row_extent(contraction: Contraction) -> int:
    """How many rows a register tile can be cut from: adjacent whole row ranks count together, else only the last."""
    if not contraction.rows:
        return 1
    bare = [i.as_variable for i in contraction.left.index]
    names = [r.name for r in contraction.rows]
    if all(name in bare for name in names):
        positions = [bare.index(name) for name in names]
        if positions == list(range(positions[0], positions[0] + len(positions))):
            return prod(typical(r.extent) for r in contraction.rows)
    return typical(contraction.rows[-1].extent)


def lane_tile(contraction: Contraction, einsum: Einsum, target: Cpu) -> int:
    """Width of the panels in which the right operand of a contraction is packed, in elements."""
    lanes = target.lanes(einsum.dtype)
    _, vectors = choose_tile(row_extent(contraction), typical(contraction.lanes.extent), lanes, target)
    return vectors * lanes
