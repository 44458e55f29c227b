"""Long sums in partial sums: what one accumulator adds up stays short, and what it held then goes into one of f64.

    schedule ... order (i, k) partial (k:64)
      =>
    for k in 0 .. 1000 { part[i.0] sum= X[k, i] }

    for k.part in 0 .. 16 {
      part[i.0] = 0.0
      for k in 1000*k.part // 16 .. (1000*k.part + 1000) // 16 { part[i.0] sum= X[k, i] }
      total[i.0] sum= f64(part[i.0])
    }

Rounding errors of a sum in one accumulator grow with its length; here they are those of the partial sums, which are as even as their
number allows, whatever the length is divisible by. Their order follows from sizes alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, compute_dtype, f32, f64
from tcomp.ir.expressions import Cast, Expr, Index, as_index
from tcomp.ir.index import Bounds, simplify_index
from tcomp.ir.schedule import KernelSchedule
from tcomp.ir.tile import Loop, TileStatement
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.cost.cpu import typical
from tcomp.passes.lower.lowering import Lowering

LONGEST = 16
"""Steps of a partial sum: folding it costs a fifth of the additions in the first-level cache, and nothing beyond it.

Measured on Zen 4 for one row of f32, in GB/s from the first and the second level and from memory: 212, 108 and 26 for one accumulator a
lane; 170, 118 and 26 for partial sums of 16 steps; 91, 91 and 26 for 4 steps; 31, 31 and 26 for each step by itself.
"""

LONGEST_ON_GPU = 64
"""The same on a GPU, where all threads of an instance meet to fold a partial sum."""

LONGEST_WHOLE = 96
"""Steps of a sum that is not cut, where there are many results."""

FEW_RESULTS = 16
"""Results among which none is so far off by chance that an error of more than one rounding does not show."""

LONGEST_OF_FEW = 4
"""Steps of a partial sum of few results."""

SHORT = 32
"""Steps in all that take no time: each is a partial sum."""

LONG = 1 << 16
"""Steps in all that wait for memory: each is a partial sum."""


def is_long_sum(einsum: Einsum) -> bool:
    """Whether an einsum is a sum of floats, whose error grows with its length."""
    return einsum.reduce == "sum" and compute_dtype(einsum.dtype).is_float


def element_dtype(einsum: Einsum, bound: Bound) -> DType:
    """The type in which a reduction's elements are added up: that of its expression, wide."""
    dtypes = {name: operand.memory.dtype for name, operand in bound.operands.items()}
    dtypes.update((name, dtype) for e in bound.group.members for name, dtype in e.targets)
    return compute_dtype(expression_dtype(einsum.expression, dtypes))


def cut_sums(schedule: KernelSchedule, bound: Bound, sums: Iterable[Einsum]) -> KernelSchedule:
    """The schedule with the partial sums of the given einsums that are long; the same one if none is.

    Few results, and what is kept in f64 for a later sum, have shorter partial sums, unless columns are summed side by side.
    """
    found = dict(schedule.partial)
    outer = [r.extent for r in bound.group.outer]
    results = prod(typical(extent) for extent in outer)
    for einsum in sums:
        if not is_long_sum(einsum):
            continue
        loops = _loops(schedule, einsum.reduced)
        longest, whole = LONGEST_ON_GPU if schedule.warps else LONGEST, LONGEST_WHOLE
        along = {r.name for r in einsum.reduced}
        is_row = not schedule.warps and (schedule.lanes is None or schedule.lanes in along)
        if is_row and (results <= FEW_RESULTS or einsum.dtype != element_dtype(einsum, bound) == f32):
            steps = results * prod(typical(trips) for _, trips in loops)
            longest, whole = LONGEST_OF_FEW if SHORT < steps < LONG else 1, 1
        part = find_part(loops, longest, whole)
        found.update([part] if part is not None else [])
    partial = tuple(found.items())
    return schedule if partial == schedule.partial else replace(schedule, partial=partial)


def find_part(loops: Sequence[tuple[str, Index]], longest: int, whole: int) -> tuple[str, int] | None:
    """Where to cut the loops of a sum, outermost first: (rank, steps), `steps` of its loop and all loops inside making one part.

    A sum of up to `whole` steps is not cut. Loops of unknown length are long.
    """
    if all(trips.is_constant for _, trips in loops) and prod(trips.constant for _, trips in loops) <= whole:
        return None
    inner = 1
    for rank, trips in reversed(loops):
        if not trips.is_constant or inner * trips.constant > longest:
            return rank, max(1, longest // inner)
        inner *= trips.constant
    return None


def _loops(schedule: KernelSchedule, ranks: Sequence[Rank]) -> list[tuple[str, Index]]:
    """The loops over ranks as a schedule cuts them: (rank, trips), outermost first; joined ranks make one, at the first of them."""
    extents = {rank.name: rank.extent for rank in ranks}
    sizes = dict(schedule.tiles)
    heads = {parts[0]: (name, parts) for name, parts in schedule.joined if set(parts) <= set(extents)}
    hidden = {part for _, parts in heads.values() for part in parts[1:]}
    found: list[tuple[str, Index]] = []
    for name in schedule.order:
        if name not in extents or name in hidden:
            continue
        head, parts = heads.get(name, (name, (name,)))
        extent = as_index(1)
        for part in parts:
            extent = extent * extents[part]
        size = sizes.get(head, 1)
        trips = simplify_index((extent + (size - 1)) // size, Bounds())
        if trips != as_index(1):
            found.append((name, trips))
    return found


def is_cut(lowering: Lowering, einsum: Einsum) -> bool:
    """Whether the schedule cuts an einsum into partial sums."""
    steps = dict(lowering.schedule.partial)
    return is_long_sum(einsum) and any(r.name in steps for r in einsum.reduced)


def as_f64(value: Expr, dtype: DType) -> Expr:
    """A partial sum of a type as it goes into a total."""
    return value if dtype == f64 else Cast(f64, value)


def nest_sums(
    lowering: Lowering,
    names: Sequence[str],
    start: Sequence[TileStatement],
    inside: Sequence[TileStatement],
    fold: Sequence[TileStatement],
) -> tuple[TileStatement, ...]:
    """The loops of ranks around `inside`; before each partial sum comes `start` and after it `fold`."""
    steps = dict(lowering.schedule.partial)
    body = tuple(inside)
    for name in reversed(names):
        for variable, trips in reversed(lowering.splits[name].loops):
            if name not in steps:
                body = (Loop("for", variable, trips, body),)
            elif steps[name] == 1:
                body = (Loop("for", variable, trips, (*start, *body, *fold)),)
            else:
                body = nest_parts(variable, trips, steps[name], (start, body, fold))
    return body


def nest_parts(
    variable: str, trips: Index, steps: int, parts: tuple[Sequence[TileStatement], tuple[TileStatement, ...], Sequence[TileStatement]]
) -> tuple[TileStatement, ...]:
    """A loop in even parts of at most so many steps, around what is done before, in and after each."""
    start, body, fold = parts
    # One part more than needed where the number of steps is not known: it must not be 0.
    count = as_index(-(-trips.constant // steps)) if trips.is_constant else simplify_index(trips // steps, Bounds()) + 1
    number = as_index(f"{variable}.part")
    first, last = (simplify_index(i * trips // count, Bounds()) for i in (number, number + 1))
    return (Loop("for", f"{variable}.part", count, (*start, Loop("for", variable, last, body, first), *fold)),)
