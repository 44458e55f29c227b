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
number allows, whatever the length is divisible by. Their order follows from sizes alone. Where each step of the innermost loop is a
partial sum, the accumulator itself is f64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.expressions import Index, as_index
from tcomp.ir.index import Bounds, simplify_index
from tcomp.ir.schedule import KernelSchedule
from tcomp.ir.tile import Loop, TileStatement
from tcomp.passes.lowering import Lowering
from tcomp.passes.tiles import typical

LONGEST = 16
"""Steps of a partial sum: what follows them costs a fifth of the additions in the first-level cache, and nothing beyond it.

Measured on Zen 4 for one row of f32, in GB/s: 212, 108 and 26 in the first and second level and memory for one accumulator a lane,
177, 107 and 28 for partial sums of 16 steps, 58, 58 and 32 for f64 all along.
"""

LONGEST_ON_GPU = 64
"""The same on a GPU, where all threads of an instance meet to fold a partial sum."""

LONGEST_WHOLE = 96
"""Steps of a sum that is not cut, where there are many."""

FEW_RESULTS = 16
"""Results up to which sums are f64 all along: a long one comes from memory, and a short one takes no time."""


def is_long_sum(einsum: Einsum) -> bool:
    """Whether an einsum is a sum of floats, whose error grows with its length."""
    return einsum.reduce == "sum" and compute_dtype(einsum.dtype).is_float


def cut_sums(schedule: KernelSchedule, sums: Iterable[Einsum], results: Sequence[Rank] | None = None) -> KernelSchedule:
    """The schedule with the partial sums of the given einsums that are long; the same one if none is.

    `results` are the ranks that number the results: where these are few, each step is a partial sum.
    """
    found = dict(schedule.partial)
    is_few = results is not None and prod(typical(r.extent) for r in results) <= FEW_RESULTS
    longest, whole = (1, 1) if is_few else (LONGEST_ON_GPU if schedule.warps else LONGEST, LONGEST_WHOLE)
    for einsum in sums:
        if is_long_sum(einsum):
            part = find_part(_loops(schedule, einsum.reduced), longest, whole)
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


def is_cut(lowering: Lowering, ranks: Sequence[Rank]) -> bool:
    """Whether the schedule cuts sums over these ranks into partial sums of several steps."""
    steps = dict(lowering.schedule.partial)
    return any(r.name in steps for r in ranks) and not is_wide(lowering, ranks)


def is_wide(lowering: Lowering, ranks: Sequence[Rank]) -> bool:
    """Whether each step of the innermost loop over these ranks is a partial sum."""
    reduced = {r.name for r in ranks}
    looped = [name for name in lowering.schedule.order if name in reduced and lowering.splits[name].loops]
    return bool(looped) and dict(lowering.schedule.partial).get(looped[-1]) == 1


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
                body = _nest_parts(variable, trips, steps[name], (start, body, fold))
    return body


def _nest_parts(
    variable: str, trips: Index, steps: int, parts: tuple[Sequence[TileStatement], tuple[TileStatement, ...], Sequence[TileStatement]]
) -> tuple[TileStatement, ...]:
    """A loop in even parts of at most so many steps."""
    start, body, fold = parts
    # One part more than needed where the number of steps is not known: it must not be 0.
    count = as_index(-(-trips.constant // steps)) if trips.is_constant else trips // steps + 1
    number = as_index(f"{variable}.part")
    first, last = (simplify_index(i * trips // count, Bounds()) for i in (number, number + 1))
    return (Loop("for", f"{variable}.part", count, (*start, Loop("for", variable, last, body, first), *fold)),)
