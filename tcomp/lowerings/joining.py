"""Joining, padding and turning: index maps with a choice of source by range."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.expressions import ONE, ZERO, Index, as_index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point, dimension, flattened, replaced, unflattened, vector, zero
from tcomp.lowerings.scalars import Scalar, absolute, maximum, minimum, ordinal, select
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


@lowers(aten.cat.default, aten.concatenate.default)
def cat(build: Builder, tensors: Sequence[Array], dim: int = 0) -> Array:
    """Tensors after each other along a dimension."""
    d = dimension(dim, len(build.shape))
    # PyTorch lets empty vectors stand beside tensors of any shape.
    parts = [x for x in tensors if x.rank == len(build.shape) and x.shape[d] != ZERO]
    if not parts:
        return build.cast(tensors[0], build.dtype)
    ends: list[Index] = []
    for x in parts:
        ends.append((ends[-1] if ends else ZERO) + x.shape[d])

    def part(number: int, ranks: Point) -> Scalar:
        x = parts[number]
        if x.shape[d] == ONE:
            return x.at(*replaced(ranks, d, 0)).to(build.dtype)
        place = ranks[d] - (ends[number - 1] if number else 0)
        outside = zero(x.dtype) if len(parts) > 1 else None
        return x.at(*replaced(ranks, d, place), outside=outside).to(build.dtype)

    def choose(first: int, last: int, ranks: Point) -> Scalar:
        """The element among parts first to last, found by halving, so that a long list makes no deep expression."""
        if first == last:
            return part(first, ranks)
        middle = (first + last) // 2
        is_before = ordinal(ranks[d]) < ordinal(ends[middle])
        return select(is_before, choose(first, middle, ranks), choose(middle + 1, last, ranks))

    return build.map(build.shape, build.dtype, lambda *ranks: choose(0, len(parts) - 1, ranks))


@lowers(aten.stack.default)
def stack(build: Builder, tensors: Sequence[Array], dim: int = 0) -> Array:
    """Tensors beside each other along a new dimension."""
    d = dimension(dim, len(build.shape))

    def choose(first: int, last: int, ranks: Point) -> Scalar:
        if first == last:
            return tensors[first].at(*replaced(ranks, d)).to(build.dtype)
        middle = (first + last) // 2
        return select(ordinal(ranks[d]) <= middle, choose(first, middle, ranks), choose(middle + 1, last, ranks))

    return build.map(build.shape, build.dtype, lambda *ranks: choose(0, len(tensors) - 1, ranks))


@lowers(aten.constant_pad_nd.default)
def constant_pad_nd(build: Builder, x: Array, pad: Sequence[Index | int], value: float = 0) -> Array:
    """Elements put before and after the last dimensions, or taken away where the count is negative."""
    before = _before(x, pad)
    converted = type(zero(x.dtype))(value)

    def element(*ranks: Index) -> Scalar:
        return x.at(*(rank - n for rank, n in zip(ranks, before)), outside=converted)

    return build.map(build.shape, build.dtype, element)


@lowers(aten.reflection_pad1d.default, aten.reflection_pad2d.default, aten.reflection_pad3d.default)
def reflection_pad(build: Builder, x: Array, padding: Sequence[Index | int]) -> Array:
    """Padding by the mirror image, without the edge itself."""
    return _pad_from_inside(build, x, padding, _reflected)


@lowers(aten.replication_pad1d.default, aten.replication_pad2d.default, aten.replication_pad3d.default)
def replication_pad(build: Builder, x: Array, padding: Sequence[Index | int]) -> Array:
    """Padding by the edge."""
    return _pad_from_inside(build, x, padding, _clamped)


@lowers(
    aten.reflection_pad1d_backward.default,
    aten.reflection_pad2d_backward.default,
    aten.reflection_pad3d_backward.default,
)
def reflection_pad_backward(build: Builder, gradient: Array, x: Array, padding: Sequence[Index | int]) -> Array:
    """Sum the gradients of all places that read an element."""
    return _pad_backward(build, gradient, x, padding, _reflected)


@lowers(
    aten.replication_pad1d_backward.default,
    aten.replication_pad2d_backward.default,
    aten.replication_pad3d_backward.default,
)
def replication_pad_backward(build: Builder, gradient: Array, x: Array, padding: Sequence[Index | int]) -> Array:
    """Sum the gradients of all places that read an element."""
    return _pad_backward(build, gradient, x, padding, _clamped)


@lowers(aten.flip.default)
def flip(build: Builder, x: Array, dims: Sequence[int]) -> Array:
    """The elements of some dimensions in reverse order."""
    turned = {dimension(d, x.rank) for d in dims}

    def position(*ranks: Index) -> Point:
        return tuple(x.shape[d] - 1 - rank if d in turned else rank for d, rank in enumerate(ranks))

    return build.view(x, build.shape, position)


@lowers(aten.roll.default)
def roll(build: Builder, x: Array, shifts: Sequence[Index | int], dims: Sequence[int] = ()) -> Array:
    """The elements moved along some dimensions, or along all taken as one; what leaves at the end enters at the start."""
    if not dims:
        flat = flattened(build, vector(build, x))
        extent = flat.shape[0]
        moved = build.view(flat, flat.shape, lambda i: [(i - shifts[0]) % extent])
        return unflattened(build, moved, x.shape)
    offset = {d: as_index(0) for d in range(x.rank)}
    for d, shift in zip(dims, shifts):
        offset[dimension(d, x.rank)] += as_index(shift)

    def position(*ranks: Index) -> Point:
        return tuple((rank - offset[d]) % x.shape[d] if offset[d] != ZERO else rank for d, rank in enumerate(ranks))

    return build.view(x, build.shape, position)


def _before(x: Array, pad: Sequence[Index | int]) -> list[Index]:
    """How many elements come before those of x, for each dimension; `pad` starts from the last one."""
    counts = [ZERO] * x.rank
    for k in range(len(pad) // 2):
        counts[x.rank - 1 - k] = as_index(pad[2 * k])
    return counts


Source = Callable[[Index, Index], Scalar]
"""From a place that may lie outside a dimension, and its extent, to the place that is read instead."""


def _reflected(place: Index, extent: Index) -> Scalar:
    last = ordinal(extent - 1)
    return last - absolute(last - absolute(ordinal(place)))


def _clamped(place: Index, extent: Index) -> Scalar:
    return maximum(minimum(ordinal(place), ordinal(extent - 1)), 0)


def _sources(x: Array, padding: Sequence[Index | int], source: Source, ranks: Sequence[Index]) -> Point:
    before = _before(x, padding)
    padded = range(x.rank - len(padding) // 2, x.rank)
    return tuple(
        source(rank - before[d], x.shape[d]).as_index() if d in padded else rank for d, rank in enumerate(ranks)
    )


def _pad_from_inside(build: Builder, x: Array, padding: Sequence[Index | int], source: Source) -> Array:
    return build.view(x, build.shape, lambda *ranks: _sources(x, padding, source, ranks))


def _pad_backward(build: Builder, gradient: Array, x: Array, padding: Sequence[Index | int], source: Source) -> Array:
    wide = compute_dtype(gradient.dtype)
    sums = build.scatter(
        None,
        x.shape,
        wide,
        gradient.shape,
        "sum",
        lambda *ranks: gradient.at(*ranks).to(wide),
        lambda *ranks: _sources(x, padding, source, ranks),
    )
    return build.cast(sums, build.dtype)
