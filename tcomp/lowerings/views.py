"""Views: maps of a single load, whose index says where each element lies. They move nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ONE, ZERO, Index, as_index
from tcomp.ir.index import interval, is_inside
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


@lowers(
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.squeeze_copy.default,
    aten.squeeze_copy.dim,
    aten.squeeze_copy.dims,
    aten.unsqueeze_copy.default,
    aten.view_copy.default,
)
def squeeze(build: Builder, x: Array, *_: object) -> Array:
    """Dimensions of extent 1 taken away or put in."""
    return reshape(build, x, build.shape)


@lowers(aten.permute.default, aten.permute_copy.default)
def permute(build: Builder, x: Array, order: Sequence[int]) -> Array:
    """Dimensions in another order: the result's dimension d is x's order[d]."""
    axes = [d % x.rank for d in order]
    return build.view(x, build.shape, lambda *ranks: [ranks[axes.index(d)] for d in range(x.rank)])


@lowers(aten.transpose.int, aten.transpose_copy.int)
def transpose(build: Builder, x: Array, first: int, second: int) -> Array:
    """Two dimensions exchanged."""
    order = list(range(x.rank))
    if order:
        order[first], order[second] = order[second], order[first]
    return permute(build, x, order)


@lowers(aten.t.default, aten.t_copy.default)
def t(build: Builder, x: Array) -> Array:
    """A matrix transposed; fewer dimensions stay."""
    return permute(build, x, range(x.rank - 1, -1, -1))


@lowers(aten.movedim.int)
def movedim(build: Builder, x: Array, source: int, destination: int) -> Array:
    """One dimension moved to another place."""
    order = [d for d in range(x.rank) if d != source % x.rank]
    order.insert(destination % x.rank, source % x.rank)
    return permute(build, x, order)


@lowers(aten.expand.default, aten.expand_copy.default)
def expand(build: Builder, x: Array, *_: object, **__: object) -> Array:
    """Broadcast to a larger shape."""
    return build.map(build.shape, x.dtype, lambda *ranks: x.over(ranks, build.shape))


@lowers(aten.repeat.default)
def repeat(build: Builder, x: Array, repeats: Sequence[int]) -> Array:
    """Whole copies side by side along each dimension."""
    new = len(repeats) - x.rank

    def position(*ranks: Index) -> list[Index]:
        # An extent of 0 is never read, and is no divisor.
        return [ZERO if extent == ZERO else ranks[new + d] % extent for d, extent in enumerate(x.shape)]

    return build.view(x, build.shape, position)


def _from_end(build: Builder, position: int | Index, extent: Index) -> Index:
    """A position that may count from the end."""
    index = as_index(position)
    low, high = interval(index, build.bounds(()))
    if high is not None and high < 0:
        return index + extent
    if low is not None and low >= 0:
        return index
    raise Unsupported(f"the sign of the position {index} is not known", help="compile with dynamic=False")


def _at(ranks: Sequence[Index], axis: int, position: Index) -> list[Index]:
    return [position if d == axis else rank for d, rank in enumerate(ranks)]


@lowers(aten.slice.Tensor, aten.slice_copy.Tensor)
def slice_(
    build: Builder,
    x: Array,
    dim: int = 0,
    start: int | Index | None = None,
    end: int | Index | None = None,
    step: int = 1,
) -> Array:
    """Every step-th position along a dimension, from start up to end."""
    axis = dim % x.rank
    first = _from_end(build, 0 if start is None else start, x.shape[axis])
    if first.is_constant and first.constant < 0:
        first = ZERO
    return build.view(x, build.shape, lambda *ranks: _at(ranks, axis, first + ranks[axis] * step))


@lowers(aten.narrow.default)
def narrow(build: Builder, x: Array, dim: int, start: int | Index, length: int | Index) -> Array:
    """A run of positions along a dimension."""
    return slice_(build, x, dim, start)


@lowers(aten.select.int, aten.select_copy.int)
def select(build: Builder, x: Array, dim: int, index: int | Index) -> Array:
    """One position along a dimension, which goes away."""
    axis = dim % x.rank
    position = _from_end(build, index, x.shape[axis])
    return build.view(x, build.shape, lambda *ranks: [*ranks[:axis], position, *ranks[axis:]])


@lowers(aten.unbind.int)
def unbind(build: Builder, x: Array, dim: int = 0) -> list[Array]:
    """All positions along a dimension, each a tensor of its own."""
    axis = dim % x.rank
    return [
        build.view(x, result.shape, lambda *ranks, n=n: [*ranks[:axis], as_index(n), *ranks[axis:]])
        for n, result in enumerate(build.results)
        if result is not None
    ]


@lowers(
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.split_with_sizes_copy.default,
    aten.split_copy.Tensor,
    aten.unsafe_split.Tensor,
    aten.unsafe_split_with_sizes.default,
    aten.chunk.default,
    aten.unsafe_chunk.default,
)
def split(build: Builder, x: Array, _: object, dim: int = 0) -> list[Array]:
    """Consecutive parts along a dimension."""
    axis = dim % x.rank
    parts: list[Array] = []
    start = ZERO
    for result in build.results:
        assert result is not None
        parts.append(build.view(x, result.shape, lambda *ranks, start=start: _at(ranks, axis, start + ranks[axis])))
        start = start + result.shape[axis]
    return parts


@lowers(aten.unfold.default, aten.unfold_copy.default)
def unfold(build: Builder, x: Array, dim: int, size: int, step: int) -> Array:
    """Windows of a size, every step-th, along a dimension; positions in the window become the last dimension."""
    axis = dim % x.rank if x.rank else 0
    return build.view(x, build.shape, lambda *ranks: _at(ranks[:-1], axis, ranks[axis] * step + ranks[-1])[: x.rank])


@lowers(aten.diagonal.default, aten.diagonal_copy.default)
def diagonal(build: Builder, x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """A diagonal of two dimensions, which becomes the last one."""
    first, second = dim1 % x.rank, dim2 % x.rank

    def position(*ranks: Index) -> list[Index]:
        rest = iter(ranks[:-1])
        along = ranks[-1]
        return [
            along - min(offset, 0) if d == first else along + max(offset, 0) if d == second else next(rest)
            for d in range(x.rank)
        ]

    return build.view(x, build.shape, position)


@lowers(aten.as_strided.default, aten.as_strided_copy.default)
def as_strided(
    build: Builder,
    x: Array,
    size: Sequence[int | Index],
    stride: Sequence[int | Index],
    storage_offset: int | Index | None = None,
) -> Array:
    """Elements at given distances in memory, if x fills its memory without gaps, in whatever order of dimensions."""
    assert build.node is not None and isinstance(build.node.args[0], torch.fx.Node)
    fake = build.node.args[0].meta["val"]
    symbols = build.program.symbols
    strides = symbols.shape(fake.stride())
    offset = ZERO if storage_offset is None else as_index(storage_offset) - symbols.index(fake.storage_offset())
    order = _dense_order(x.shape, strides)
    if order is None:
        raise Unsupported("as_strided of a tensor with gaps between its elements", help="call contiguous() on it first")
    _check_reach(build, x, stride, offset)

    def position(*ranks: Index) -> list[Index]:
        split = split_flat(_distance(ranks, stride) + offset, [x.shape[d] for d in order])
        return [split[order.index(d)] for d in range(x.rank)]

    return build.view(x, build.shape, position)


def _distance(ranks: Sequence[Index], stride: Sequence[int | Index]) -> Index:
    total = ZERO
    for rank, distance in zip(ranks, stride):
        total = total + rank * as_index(distance)
    return total


def _check_reach(build: Builder, x: Array, stride: Sequence[int | Index], offset: Index) -> None:
    """Refuse places that may lie in memory beyond x, as when x is a part of a larger tensor."""
    if ZERO in build.shape:
        return
    bounds = build.bounds(())
    last = _distance([extent - 1 for extent in build.shape], stride) + offset
    if not (is_inside(offset, product(x.shape), bounds) and is_inside(last, product(x.shape), bounds)):
        raise Unsupported("as_strided beyond the elements of its tensor", help="call it on the tensor that owns the memory")


def _dense_order(shape: Sequence[Index], strides: Sequence[Index]) -> list[int] | None:
    """The dimensions from outermost to innermost, if they fill memory without gaps."""
    left = [d for d, extent in enumerate(shape) if extent != ONE]
    order: list[int] = [d for d, extent in enumerate(shape) if extent == ONE]
    inner: list[int] = []
    expected = ONE
    while left:
        found = next((d for d in reversed(left) if strides[d] == expected), None)
        if found is None:
            return None
        inner.insert(0, found)
        left.remove(found)
        expected = expected * shape[found]
    return order + inner
