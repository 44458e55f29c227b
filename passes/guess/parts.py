"""Into how many parts the reductions of a GPU are cut: enough to keep its multiprocessors busy, none too short."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import DType
from tcomp.ir.target import Gpu
from tcomp.passes.cost.gpu import Problem, choose_tiles, cycles
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import contraction_of, operand_load, read_contraction, turn_lanes
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.parts import walks_rows
from tcomp.passes.groups.scatter import is_concurrent

PARTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)

SHORTEST_PART = 256
"""Products of a part: shorter ones cost more in starting and folding than they save."""

FOLD_CYCLES = 3000.0
"""Cycles of the kernel that folds the parts: its launch, and a wait for memory."""

FOLD_BYTES = 20.0
"""Bytes a multiprocessor writes and reads again in a cycle."""

LONG_ROW = 1 << 12
"""Elements of a part of a row: fewer are folded fast enough by one instance."""

LONG_COLUMN = 128
"""The same where an instance folds columns side by side."""

LANES = 128
"""Columns of such an instance."""

MOST_SCATTERED = 1 << 24
"""Elements of all partial targets of a scatter."""

FEW_POINTS = 2048
"""Points of a scatter that one instance folds one after another soon enough."""


def choose_parts(group: Group, einsum: Einsum, dtypes: Mapping[str, DType], target: Gpu, *, is_atomic: bool) -> tuple[str, int] | None:
    """The longest rank of the reduction of a group and how many parts it is cut into; None if the group stays whole."""
    rank = max(einsum.reduced, key=lambda r: r.extent.constant)
    counts = [count for count in PARTS if rank.extent.constant % count == 0]
    match group.kind:
        case "contract":
            count = _count_contraction(group, einsum, counts, dtypes, target)
        case "scatter":
            count = _count_scatter(einsum, counts, target, is_atomic)
        case _:
            count = _count_reduction(einsum, counts, target)
    return None if count is None else (rank.name, count)


def _count_contraction(group: Group, einsum: Einsum, counts: list[int], dtypes: Mapping[str, DType], target: Gpu) -> int | None:
    contraction = read_contraction(einsum, turn_lanes(einsum, contraction_of(group).fact))
    operands = [operand_load(a) for a in getattr(einsum.expression, "arguments", ())]
    operand = max((dtypes[load.tensor] for load in operands if load is not None), key=lambda t: t.bits)
    shared = {r.name for r in contraction.shared}
    rows = prod(typical(r.extent) for r in contraction.rows)
    batch = prod(typical(r.extent) for r in contraction.shared)
    lanes = prod(typical(r.extent) for r in einsum.free if r not in contraction.rows and r.name not in shared)
    depth = prod(typical(r.extent) for r in einsum.reduced)

    def cost(count: int) -> float:
        problem = Problem(max(rows, 1), lanes, -(-depth // count), batch * count, 1, operand)
        time = cycles(choose_tiles(problem, target)[0], problem, target)
        if count == 1:
            return time
        moved = 2 * 4 * count * rows * lanes * batch
        return time + FOLD_CYCLES + moved / (FOLD_BYTES * target.multiprocessors)

    best = min([1, *(count for count in counts if depth // count >= SHORTEST_PART)], key=lambda count: (cost(count), count))
    return best if best > 1 else None


def _count_reduction(einsum: Einsum, counts: list[int], target: Gpu) -> int | None:
    """Parts of a plain reduction: as many as leave each long, where instances are fewer than multiprocessors."""
    results = prod(typical(r.extent) for r in einsum.free)
    length = prod(typical(r.extent) for r in einsum.reduced)
    # An instance folds a whole row, or columns side by side.
    is_row = walks_rows(einsum)
    instances, shortest = (results, LONG_ROW) if is_row else (-(-results // LANES), LONG_COLUMN)
    wanted = [count for count in counts if instances * count <= 8 * target.multiprocessors and length // count >= shortest]
    return max(wanted) if wanted and instances < target.multiprocessors and length >= 4 * shortest else None


def _count_scatter(einsum: Einsum, counts: list[int], target: Gpu, is_atomic: bool) -> int | None:
    """Parts of a scatter whose points must be folded in order: each gets a target of its own."""
    if einsum.reduce == "last" or is_concurrent(einsum, is_atomic=is_atomic):
        return None
    side_by_side = prod(typical(r.extent) for r in einsum.free)
    points = prod(typical(r.extent) for r in einsum.reduced)
    size = prod(typical(e) for e in einsum.shape)
    wanted = [count for count in counts if count * size <= MOST_SCATTERED]
    return max(wanted) if wanted and points >= FEW_POINTS and side_by_side < 32 * target.multiprocessors else None
