"""Where long sums are cut into partial sums, which `tcomp.passes.lower.partial_sums` writes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import Index, as_index
from tcomp.ir.index import Bounds, simplify_index
from tcomp.ir.schedule import GpuLaunch, KernelSchedule
from tcomp.passes.bind.arguments import Bound, element_dtype
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.facts import is_long_sum

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


def cut_sums(schedule: KernelSchedule, bound: Bound, sums: Iterable[Einsum]) -> KernelSchedule:
    """The schedule with the partial sums of the given einsums that are long; the same one if none is.

    Few results, and what is kept in f64 for a later sum, have shorter partial sums, unless columns are summed side by side.
    """
    found = dict(schedule.partial)
    outer = [r.extent for r in bound.group.outer]
    results = prod(typical(extent) for extent in outer)
    is_gpu = isinstance(schedule.launch, GpuLaunch)
    for einsum in sums:
        if not is_long_sum(einsum):
            continue
        loops = _loops(schedule, einsum.reduced)
        longest, whole = LONGEST_ON_GPU if is_gpu else LONGEST, LONGEST_WHOLE
        along = {r.name for r in einsum.reduced}
        is_row = not is_gpu and (schedule.lanes is None or schedule.lanes in along)
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
