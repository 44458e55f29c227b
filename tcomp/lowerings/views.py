"""Views: maps of a single load, whose index says where each element lies. They move nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tcomp.ir.expressions import ONE, ZERO, Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


@lowers(aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten._reshape_alias.default)
def view(build: Builder, x: Array, *_: object) -> Array:
    """The elements in the same row-major order under another shape."""
    return reshape(build, x, build.shape)


def reshape(build: Builder, x: Array, shape: Sequence[Index]) -> Array:
    """Emit x under another shape of the same number of elements."""
    return build.view(x, shape, lambda *ranks: reshaped(ranks, shape, x.shape))


def reshaped(ranks: Sequence[Index], shape: Sequence[Index], source: Sequence[Index]) -> list[Index]:
    """The index into `source` of the element at `ranks` of `shape`, both row major.

    Runs of dimensions with equal products are matched first, so that a dimension that merely moves keeps its rank and a
    symbolic one is divided by nothing it need not be.
    """
    if ZERO in source:
        return [ZERO] * len(source)
    position: list[Index] = []
    for outer, inner in _matching_runs(shape, source):
        flat = ZERO
        for d in outer:
            flat = flat * shape[d] + ranks[d]
        position += split_flat(flat, [source[d] for d in inner])
    return position


def split_flat(flat: Index, shape: Sequence[Index]) -> list[Index]:
    """The index of row-major position `flat` in `shape`."""
    position: list[Index] = []
    for extent in reversed(shape[1:]):
        position.append(flat % extent)
        flat = flat // extent
    return [flat, *reversed(position)] if shape else []


def product(extents: Sequence[Index]) -> Index:
    """The number of points of a shape."""
    total = ONE
    for extent in extents:
        total = total * extent
    return total


def _matching_runs(shape: Sequence[Index], source: Sequence[Index]) -> list[tuple[range, range]]:
    """Split the dimensions of both shapes into short consecutive runs with equal products."""
    runs: list[tuple[range, range]] = []
    s = t = 0
    while s < len(shape) or t < len(source):
        one = s < len(shape) and shape[s] == ONE
        source_one = t < len(source) and source[t] == ONE
        if one or source_one:
            s_end, t_end = s + one, t + source_one
        else:
            s_end, t_end = _shortest_run(shape, source, s, t)
        runs.append((range(s, s_end), range(t, t_end)))
        s, t = s_end, t_end
    return runs


def _shortest_run(shape: Sequence[Index], source: Sequence[Index], s: int, t: int) -> tuple[int, int]:
    """Where the shortest runs from s and t with equal products end; all that is left if equality is not evident."""
    ends = [(a, b) for a in range(s + 1, len(shape) + 1) for b in range(t + 1, len(source) + 1)]
    for a, b in sorted(ends, key=sum):
        if product(shape[s:a]) == product(source[t:b]):
            return a, b
    return len(shape), len(source)
