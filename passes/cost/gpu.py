"""Tiles of contractions on a GPU, chosen by counting: arithmetic on tensor cores, traffic from the second cache, waves of instances.

An instance computes `rows x lanes` results and walks the reduced rank `depth` elements a step, with the loads of `stages` steps under
way. Its time is that of the slower of its multiplications and its loads; instances run in waves of as many as fit the chip at once, by
shared memory and registers, and the last wave takes as long as the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.ir.dtypes import DType
from tcomp.ir.target import Gpu

WARP = 32
"""Threads of a warp."""

SIDES = (16, 32, 64, 128, 256)
DEPTHS = (16, 32, 64, 128)
SMALLEST_SIDE = 16
"""What a tensor core multiplies is at least this long on every side."""

VECTOR_DEPTHS = (64, 128, 256, 512)
"""Steps along the reduced rank where there is only one row: whole lines of memory."""

WARPGROUP_ROWS = 64

WARPS = (4, 8)
STAGES = (4, 3, 2)

MOST_CANDIDATES = 8
MOST_ALIKE = 2
"""Candidates, and how many of them have the same rows and lanes."""

LARGEST_INSTANCES = 8
"""Instances that share a multiprocessor, beyond which none is faster."""

ACCUMULATORS = 128
"""Registers of a thread that may hold results; the rest holds addresses and operands."""

SPLIT_ACCUMULATORS = 64
"""The same where one product is computed as three, whose parts need registers as well."""

VECTOR_PRODUCTS = 32
"""Products that a thread keeps side by side where there is only one row."""

OPERANDS = 96
HEAVY_OPERANDS = 32
"""Elements of a step that a thread addresses; less where each has an address and a mask of its own."""

SPLIT_DEPTH = 64
"""Longest step where factors are split in registers: a warp holds those of its 16 rows twice."""

RATES = {8: 4096.0, 16: 2048.0, 32: 340.0, 64: 64.0}
"""Multiply-adds of a multiprocessor in a cycle, by the bits of an operand; those of 32 bits are three products of tf32."""

VECTOR_RATE = 0.1
"""Share of those that plain multiply-adds reach."""

L2_BYTES = 64.0
"""Bytes from the second cache that a multiprocessor receives in a cycle."""

SHARED_READS = 40.0
"""Products for each operand element at which reading shared memory takes as long as multiplying."""

LINE = 128
"""Bytes of a row that arrive together."""

STEP = 100.0
"""Cycles of a step along the depth in which threads wait for one another."""

START = 1500.0
"""Cycles until an instance multiplies and after it has: launch, first loads, stores."""

GROUP = 8
"""Tiles of rows that are walked before the next lanes: what they share stays in the second cache."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A contraction of `batch` products of rows x depth by depth x lanes; `steps` walks of the depth make one sum."""

    rows: int
    lanes: int
    depth: int
    batch: int
    steps: int
    operand: DType
    is_heavy: bool = False
    """Whether registers are needed besides: for places that are decoded by division, or for functions of the results."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile and how it is run."""

    rows: int
    lanes: int
    depth: int
    warps: int
    stages: int


def power_above(size: int) -> int:
    """The smallest power of two that is not below a size."""
    return 1 << max(0, size - 1).bit_length()


def choose_tiles(problem: Problem, target: Gpu) -> tuple[Tile, ...]:
    """The tiles with the lowest estimated time, the best first; never empty."""
    found = [tile for tile in _tiles(problem) if _fits(tile, problem, target)]
    ranked = sorted(found, key=lambda tile: (cycles(tile, problem, target), tile.warps, -tile.stages))
    kept: list[Tile] = []
    for tile in ranked:
        alike = sum(1 for other in kept if (other.rows, other.lanes) == (tile.rows, tile.lanes))
        if alike < MOST_ALIKE and len(kept) < MOST_CANDIDATES:
            kept.append(tile)
    return tuple(kept) or (Tile(SIDES[0], SIDES[0], DEPTHS[0], 4, 2),)


def count_tiles(problem: Problem, tile: Tile) -> int:
    """How many tiles cover all results."""
    return -(-problem.rows // tile.rows) * -(-problem.lanes // tile.lanes) * problem.batch


def _tiles(problem: Problem) -> list[Tile]:
    rows = _sides(problem.rows)
    # Four warps multiply 64 rows together, which is the fast way; fewer only where there are no more.
    rows = [side for side in rows if side >= WARPGROUP_ROWS] or rows
    lanes = _sides(problem.lanes)
    steps: tuple[int, ...] = DEPTHS if rows != [1] and lanes != [1] else VECTOR_DEPTHS
    depths = [d for d in steps if d <= max(SMALLEST_SIDE, power_above(problem.depth))] or list(steps[:1])
    return [Tile(r, n, d, w, s) for r in rows for n in lanes for d in depths for w in WARPS for s in STAGES]


def _sides(extent: int) -> list[int]:
    """Sides of a tile that are not mostly outside; one element needs no tile for tensor cores."""
    if extent == 1:
        return [1]
    return [side for side in SIDES if side <= max(SMALLEST_SIDE, power_above(extent))]


def shared_bytes(tile: Tile, problem: Problem) -> int:
    """Shared memory of one instance: the operands of all stages."""
    return tile.stages * (tile.rows + tile.lanes) * tile.depth * problem.operand.bytes


def _fits(tile: Tile, problem: Problem, target: Gpu) -> bool:
    threads = tile.warps * WARP
    most = SPLIT_ACCUMULATORS if problem.operand.bits >= 32 else ACCUMULATORS
    most = most // 2 if problem.is_heavy else most
    if tile.rows == 1 or tile.lanes == 1:
        # Nothing for tensor cores: products lie side by side in registers.
        return 4 <= tile.rows * tile.lanes * tile.depth // threads <= VECTOR_PRODUCTS and tile.stages == 2
    elements = (tile.rows + tile.lanes) * tile.depth // threads
    if elements > (HEAVY_OPERANDS if problem.is_heavy else OPERANDS):
        return False
    if problem.operand.bits >= 32 and tile.depth > (SPLIT_DEPTH // 2 if problem.is_heavy else SPLIT_DEPTH):
        return False
    results = tile.rows * tile.lanes // threads
    # A warp multiplies 16 rows by 8 lanes at least.
    busy = (tile.rows // SMALLEST_SIDE) * (tile.lanes // 8) >= tile.warps
    return results <= most and busy and shared_bytes(tile, problem) <= target.shared * 9 // 10


def instances_at_once(tile: Tile, problem: Problem, target: Gpu) -> int:
    """How many instances share a multiprocessor."""
    by_memory = target.shared // max(1, shared_bytes(tile, problem))
    registers = tile.warps * WARP * min(255, 64 + tile.rows * tile.lanes // (tile.warps * WARP))
    return max(1, min(LARGEST_INSTANCES, by_memory, target.registers // registers))


def cycles(tile: Tile, problem: Problem, target: Gpu) -> float:
    """Estimated cycles of the whole contraction."""
    count = count_tiles(problem, tile)
    depth = -(-problem.depth // tile.depth) * tile.depth * problem.steps
    together = instances_at_once(tile, problem, target)
    arithmetic = tile.rows * tile.lanes * depth / (RATES[problem.operand.bits] * _efficiency(tile, problem.operand))
    traffic = (tile.rows + tile.lanes) * depth * problem.operand.bytes / L2_BYTES
    waves = -(-count // (target.multiprocessors * together))
    busy = min(together, -(-count // target.multiprocessors))
    # A single instance cannot hide all waits; loads of several stages hide more of them.
    hidden = 1.0 + 0.6 / (busy * tile.stages)
    steps = depth // tile.depth
    return waves * (busy * max(arithmetic, traffic) * hidden + steps * STEP + START)


def _efficiency(tile: Tile, operand: DType) -> float:
    """Share of the peak that tensor cores reach on a tile.

    Small tiles are read from shared memory too often; steps of less than a line of each row wait too often.
    """
    reuse = 2.0 * tile.rows * tile.lanes / (tile.rows + tile.lanes)
    if tile.rows == 1 or tile.lanes == 1:
        return VECTOR_RATE
    return reuse / (reuse + SHARED_READS) * min(1.0, 0.7 + 0.3 * tile.depth * operand.bytes / LINE)


def group_of(problem: Problem, tile: Tile) -> int:
    """How many tiles of rows form a group: a divisor of their number, 0 if there is nothing to share."""
    rows, lanes = -(-problem.rows // tile.rows), -(-problem.lanes // tile.lanes)
    if rows == 1 or lanes == 1:
        return 0
    return max((g for g in range(2, GROUP + 1) if rows % g == 0), default=0)
