"""Distances between rows: norms of differences, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.indexing import broadcast_shape
from tcomp.lowerings.positions import Point, product, unflat_position
from tcomp.lowerings.scalars import Scalar, absolute, call, literal, ordinal, select, sqrt
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


@lowers(aten._cdist_forward.default)
def cdist_forward(build: Builder, a: Array, b: Array, p: float, compute_mode: int | None) -> Array:
    """The p-norm of the difference of each row of a and each row of b."""
    rows = (*build.shape[:-2], a.shape[-2], a.shape[-1]), (*build.shape[:-2], b.shape[-2], b.shape[-1])

    def difference(free: Point, folded: Point) -> Scalar:
        *batch, i, j = free
        return a.over((*batch, i, *folded), rows[0]) - b.over((*batch, j, *folded), rows[1])

    return _norm(build, build.shape, a.shape[-1], p, compute_dtype(a.dtype), difference, build.dtype)


@lowers(aten._pdist_forward.default)
def pdist_forward(build: Builder, x: Array, p: float = 2.0) -> Array:
    """The p-norm of the difference of each row and each later row, pairs in order."""
    rows = x.shape[0]

    def difference(free: Point, folded: Point) -> Scalar:
        i, j = free
        return x.at(i, *folded) - x.at(j, *folded)

    square = _norm(build, [rows, rows], x.shape[1], p, compute_dtype(x.dtype), difference, build.dtype)

    def place(i: Index, j: Index) -> list[Index]:
        # Before the pairs of row i come those of the rows above, rows - 1, rows - 2, ... of them.
        return [(i * (rows * 2 - i - 3)) // 2 + j - 1]

    return build.scatter(
        None,
        build.shape,
        build.dtype,
        square.shape,
        "last",
        square.at,
        place,
        where=lambda i, j: ordinal(i) < ordinal(j),
    )


@lowers(aten.dist.default)
def dist(build: Builder, a: Array, b: Array, p: float = 2) -> Array:
    """The p-norm of a difference."""
    shape = broadcast_shape([a.shape, b.shape])

    def difference(free: Point, folded: Point) -> Scalar:
        point = unflat_position(folded[0], shape)
        return a.over(point, shape).to(wide) - b.over(point, shape).to(wide)

    wide = compute_dtype(build.dtype)
    return _norm(build, (), product(shape), p, wide, difference, build.dtype)


@lowers(aten._cdist_backward.default)
def cdist_backward(build: Builder, gradient: Array, a: Array, b: Array, p: float, distances: Array) -> Array:
    """Gradient of the distances with respect to the rows of a."""
    wide = compute_dtype(a.dtype)
    rows = (*build.shape[:-2], b.shape[-2], b.shape[-1])

    def element(free: Point, folded: Point) -> Scalar:
        *batch, i, d = free
        pair = (*batch, i, *folded)
        difference = a.over(free, build.shape).to(wide) - b.over((*batch, *folded, d), rows).to(wide)
        return gradient.at(*pair).to(wide) * _slope(difference, distances.at(*pair).to(wide), p)

    return build.cast(build.reduce("sum", build.shape, [b.shape[-2]], wide, element, hint="sum"), build.dtype)


def _norm(
    build: Builder,
    shape: tuple[Index, ...] | list[Index],
    length: Index,
    p: float,
    wide: DType,
    difference: Callable[[Point, Point], Scalar],
    dtype: DType,
) -> Array:
    """Emit the p-norm over one reduced rank; norm 0 counts what is not zero, the infinite one is the largest."""

    def term(free: Point, folded: Point) -> Scalar:
        size = absolute(difference(free, folded).to(wide))
        if p == 0:
            return size.differs(0.0).to(wide)
        if p in (1, math.inf, -math.inf):
            return size
        return size * size if p == 2 else call("pow", size, p)

    monoid = "max" if p == math.inf else "min" if p == -math.inf else "sum"
    total = build.reduce(monoid, shape, [length], wide, term, hint="norm")
    if p == 2:
        return build.map(shape, dtype, lambda *ranks: sqrt(total.at(*ranks)))
    if p in (0, 1, math.inf, -math.inf):
        return build.cast(total, dtype)
    return build.map(shape, dtype, lambda *ranks: call("pow", total.at(*ranks), 1.0 / p))


def _slope(difference: Scalar, distance: Scalar, p: float) -> Scalar:
    """The derivative of a distance with respect to one component; 0 where there is none."""
    zero = literal(0.0, difference.dtype)
    if p == 0:
        return zero
    size, sign = absolute(difference), call("sign", difference)
    if p == 1:
        return sign
    if p == math.inf:
        return select(size.equals(distance), sign, zero)
    is_apart = distance > 0.0
    safe = select(is_apart, distance, 1.0)
    if p == 2:
        return select(is_apart, difference / safe, zero)
    ratio = call("pow", select(size > 0.0, size / safe, 1.0), p - 1.0)
    return select(is_apart & (size > 0.0), sign * ratio, zero)
