"""Gathers: loads whose index is another tensor's element, and searches in sorted sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tcomp.ir.dtypes import compute_dtype, i64
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ZERO, Index, as_index
from tcomp.lowerings.builder import Array, Builder, Operand, common_dtype, convert
from tcomp.lowerings.positions import Point, dimension, flattened, replaced, vector, wrapped
from tcomp.lowerings.scalars import Scalar, literal
from tcomp.lowerings.table import lowers

aten = torch.ops.aten

LONGEST_SEARCHED = 4096
"""Elements of a sorted sequence: a search counts them all, where a binary search looks at the logarithm of their number."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """Which elements `x[indices]` names, where some dimensions have an index tensor and None stands for a whole dimension.

    The index tensors broadcast to `common`, whose dimensions take the place of theirs, or come first if theirs are not adjacent.
    """

    extents: tuple[Index, ...]
    indices: tuple[Array | None, ...]
    common: tuple[Index, ...]

    @property
    def start(self) -> int:
        """Where the dimensions of `common` stand in the result."""
        indexed = [d for d, i in enumerate(self.indices) if i is not None]
        is_adjacent = indexed == list(range(indexed[0], indexed[-1] + 1))
        return indexed[0] if is_adjacent else 0

    @property
    def shape(self) -> tuple[Index, ...]:
        """Shape of the elements named."""
        rest = [extent for extent, i in zip(self.extents, self.indices) if i is None]
        return (*rest[: self.start], *self.common, *rest[self.start :])

    def position(self, *ranks: Index) -> list[Index]:
        """Where the element at a point of `shape` lies."""
        end = self.start + len(self.common)
        point = ranks[self.start : end]
        rest = iter((*ranks[: self.start], *ranks[end:]))
        return [
            next(rest) if i is None else wrapped(i.over(point, self.common), extent)
            for i, extent in zip(self.indices, self.extents)
        ]


def make_advanced(x: Array, indices: Sequence[Array | None]) -> Advanced:
    """Read the arguments of advanced indexing; raises Unsupported for masks, whose number of elements is data."""
    given = (*indices, *(None,) * (x.rank - len(indices)))
    arrays = [i for i in given if i is not None]
    if any(not i.dtype.is_int or i.dtype.bits < 32 for i in arrays):
        raise Unsupported("indexing by a mask gives a result whose size depends on data", help="use torch.where")
    return Advanced(x.shape, given, broadcast_shape([i.shape for i in arrays]))


def broadcast_shape(shapes: Sequence[Sequence[Index]]) -> tuple[Index, ...]:
    """The shape that shapes broadcast to."""
    one = as_index(1)
    rank = max((len(s) for s in shapes), default=0)
    padded = [(*(one,) * (rank - len(s)), *s) for s in shapes]
    return tuple(next((e for e in extents if e != one), one) for extents in zip(*padded))


@lowers(aten.index.Tensor, aten._unsafe_index.Tensor)
def index(build: Builder, x: Array, indices: Sequence[Array | None]) -> Array:
    """Advanced indexing; negative indices count from the end."""
    if all(i is None for i in indices):
        return build.view(x, build.shape, lambda *ranks: ranks)
    return build.view(x, build.shape, make_advanced(x, indices).position)


@lowers(aten.index_select.default)
def index_select(build: Builder, x: Array, dim: int, index: Array) -> Array:
    """The slices of one dimension that a vector names."""
    chosen = vector(build, index)
    if not x.rank or ZERO in build.shape:
        # An empty index may have any number of dimensions.
        return build.view(x, build.shape, lambda *ranks: [ZERO] * x.rank)
    d = dimension(dim, x.rank)
    return build.view(x, build.shape, lambda *ranks: replaced(ranks, d, chosen.at(ranks[d]).as_index()))


@lowers(aten.gather.default)
def gather(build: Builder, x: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    """One element for each index, in its own row."""
    if not x.rank or ZERO in build.shape:
        # An empty index may have any number of dimensions.
        return build.view(x, build.shape, lambda *ranks: [ZERO] * x.rank)
    d = dimension(dim, x.rank)
    return build.view(x, build.shape, lambda *ranks: replaced(ranks, d, index.at(*ranks).as_index()))


@lowers(aten.take.default)
def take(build: Builder, x: Array, index: Array) -> Array:
    """Elements by their row-major position; negative positions count from the end."""
    source = flattened(build, vector(build, x))
    return build.view(source, build.shape, lambda *ranks: [wrapped(index.at(*ranks), source.shape[0])])


@lowers(aten.embedding.default)
def embedding(
    build: Builder,
    weight: Array,
    indices: Array,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Array:
    """The rows of a table that indices name; the other arguments concern the gradient."""
    return build.view(weight, build.shape, lambda *ranks: [indices.at(*ranks[:-1]).as_index(), ranks[-1]])


@lowers(aten.embedding_dense_backward.default)
def embedding_dense_backward(
    build: Builder, gradient: Array, indices: Array, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Array:
    """Sum the gradients of the uses of each row; `padding_idx` gets none."""
    wide = compute_dtype(gradient.dtype)
    count = None
    if scale_grad_by_freq:
        count = build.scatter(
            None,
            build.shape[:1],
            i64,
            indices.shape,
            "sum",
            lambda *ranks: literal(1, i64),
            lambda *ranks: [indices.at(*ranks).as_index()],
            hint="uses",
        )

    def element(*ranks: Index) -> Scalar:
        value = gradient.at(*ranks).to(wide)
        return value if count is None else value / count.at(indices.at(*ranks[:-1]).as_index()).to(wide)

    def is_used(*ranks: Index) -> Scalar:
        return indices.at(*ranks[:-1]).differs(padding_idx)

    sums = build.scatter(
        None,
        build.shape,
        wide,
        gradient.shape,
        "sum",
        element,
        lambda *ranks: [indices.at(*ranks[:-1]).as_index(), ranks[-1]],
        where=is_used if padding_idx >= 0 else None,
    )
    return build.cast(sums, build.dtype)


@lowers(aten.bucketize.Tensor)
def bucketize(build: Builder, x: Array, boundaries: Array, *, out_int32: bool = False, right: bool = False) -> Array:
    """How many boundaries lie before each element."""
    return _search(build, boundaries, x, None, after_equal=right)


@lowers(aten.bucketize.Scalar)
def bucketize_scalar(build: Builder, x: float, boundaries: Array, *, out_int32: bool = False, right: bool = False) -> Array:
    """How many boundaries lie before a number."""
    return _search(build, boundaries, x, None, after_equal=right)


@lowers(aten.searchsorted.Tensor, aten.searchsorted.Scalar)
def searchsorted(
    build: Builder,
    sequence: Array,
    x: Array | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Array | None = None,
) -> Array:
    """Where each element would be put into a sorted sequence (or into each of its rows)."""
    return _search(build, sequence, x, sorter, after_equal=right or side == "right")


def _search(build: Builder, sequence: Array, x: Operand, sorter: Array | None, *, after_equal: bool) -> Array:
    """Count the elements of the sequence that are less than x (or equal).

    As in a binary search, what does not compare as greater (or equal) counts: NaN comes after everything.
    """
    length = sequence.shape[-1]
    if not length.is_constant or length.constant > LONGEST_SEARCHED:
        raise Unsupported(f"searching {length} elements is left to eager, which need not look at all of them")
    common = common_dtype(sequence, x)
    lead = sequence.rank - 1

    def is_before(free: Point, folded: Point) -> Scalar:
        row = free[:lead]
        place = folded[0] if sorter is None else sorter.at(*row, *folded).as_index()
        element = sequence.at(*row, place).to(common)
        value = convert(x, common, free, build.shape)
        return ~(element > value if after_equal else element >= value)

    return build.cast(
        build.reduce("sum", build.shape, [length], i64, lambda free, folded: is_before(free, folded).to(i64)), build.dtype
    )
