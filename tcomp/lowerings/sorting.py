"""Sorting by counting: the position of an element is the number of elements that come before it.

    P[n, i] = sum(j) x[n, j] before x[n, i]
    I[n, P[n, i]] = i
    Y[n, p] = x[n, I[n, p]]

All comparisons are independent, but there are N * N of them: long rows are left to eager.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from tcomp.ir.dtypes import i64
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ZERO, Index, as_index
from tcomp.ir.index import interval
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point, dimension, flattened, replaced, vector
from tcomp.lowerings.scalars import Scalar, call, is_nan, maximum, ordinal, select
from tcomp.lowerings.table import lowers

aten = torch.ops.aten

LONGEST_ROW = 4096
"""Elements of a row that is sorted by counting."""


@lowers(aten.sort.default)
def sort(build: Builder, x: Array, dim: int = -1, descending: bool = False) -> tuple[Array, Array]:
    """Sorted values and their positions; stable, NaN counts as the largest."""
    return _take_first(build, vector(build, x), dim, descending)


@lowers(aten.sort.stable)
def sort_stable(
    build: Builder, x: Array, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Array, Array]:
    """Sorted values and their positions; stable in any case, NaN counts as the largest."""
    return _take_first(build, vector(build, x), dim, descending)


@lowers(aten.argsort.default)
def argsort(build: Builder, x: Array, dim: int = -1, descending: bool = False) -> Array:
    """The positions of the sorted values."""
    return _take_first(build, vector(build, x), dim, descending)[1]


@lowers(aten.topk.default)
def topk(
    build: Builder, x: Array, k: Index | int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Array, Array]:
    """The k largest or smallest values and their positions, best first."""
    return _take_first(build, vector(build, x), dim, largest)


@lowers(aten.kthvalue.default)
def kthvalue(build: Builder, x: Array, k: Index | int, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """The k-th smallest value and its position."""
    return _take_one(build, vector(build, x), dim, keepdim, lambda row: ordinal(as_index(k) - 1))


@lowers(aten.median.dim)
def median_dim(build: Builder, x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """The lower median and its position; NaN if there is any."""
    row = vector(build, x)
    return _take_one(build, row, dim, keepdim, _median_position(build, row, dimension(dim, row.rank)))


@lowers(aten.nanmedian.dim)
def nanmedian_dim(build: Builder, x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """The lower median of what is not NaN and its position."""
    row = vector(build, x)
    return _take_one(build, row, dim, keepdim, _nanmedian_position(build, row, dimension(dim, row.rank)))


@lowers(aten.median.default)
def median(build: Builder, x: Array) -> Array:
    """The lower median of all elements; NaN if there is any."""
    row = flattened(build, vector(build, x))
    return _take_one(build, row, 0, False, _median_position(build, row, 0))[0]


@lowers(aten.nanmedian.default)
def nanmedian(build: Builder, x: Array) -> Array:
    """The lower median of all elements that are not NaN."""
    row = flattened(build, vector(build, x))
    return _take_one(build, row, 0, False, _nanmedian_position(build, row, 0))[0]


Wanted = Callable[[Point], Scalar]
"""From the point of a row to the position among its sorted elements that is wanted."""


def _median_position(build: Builder, x: Array, d: int) -> Wanted:
    """The lower median, or the first NaN."""
    middle = ordinal((x.shape[d] - 1) // 2)
    nans = _count_nans(build, x, d)
    if nans is None:
        return lambda row: middle
    return lambda row: select(nans.at(*row) > 0, ordinal(x.shape[d]) - nans.at(*row), middle)


def _nanmedian_position(build: Builder, x: Array, d: int) -> Wanted:
    """The lower median of the elements before the first NaN."""
    nans = _count_nans(build, x, d)
    if nans is None:
        return lambda row: ordinal((x.shape[d] - 1) // 2)
    return lambda row: call("floordiv", maximum(ordinal(x.shape[d] - 1) - nans.at(*row), 0), 2)


def _count_nans(build: Builder, x: Array, d: int) -> Array | None:
    if not x.dtype.is_float:
        return None

    def element(free: Point, folded: Point) -> Scalar:
        return is_nan(x.at(*free[:d], *folded, *free[d:])).to(i64)

    return build.reduce("sum", replaced(x.shape, d), [x.shape[d]], i64, element, hint="nans")


def _comes_before(a: Scalar, b: Scalar, descending: bool) -> Scalar:
    better = a > b if descending else a < b
    if not a.dtype.is_float:
        return better
    return better | ((is_nan(a) & ~is_nan(b)) if descending else (is_nan(b) & ~is_nan(a)))


def _count_before(build: Builder, x: Array, d: int, descending: bool) -> Array:
    """For each element the number of elements of its row that come before it; equal ones keep their order."""
    high = interval(x.shape[d], build.bounds(()))[1]
    if high is None or high > LONGEST_ROW:
        raise Unsupported(f"sorting rows of {x.shape[d]} elements by counting would be slower than eager's sort")

    def element(free: Point, folded: Point) -> Scalar:
        other, own = x.at(*replaced(free, d, folded[0])), x.at(*free)
        tie = other.equals(own)
        if x.dtype.is_float:
            tie = tie | (is_nan(other) & is_nan(own))
        is_before = _comes_before(other, own, descending) | (tie & (ordinal(folded[0]) < ordinal(free[d])))
        return is_before.to(i64)

    return build.reduce("sum", x.shape, [x.shape[d]], i64, element, hint="place")


def _take_first(build: Builder, x: Array, dim: int, descending: bool) -> tuple[Array, Array]:
    """The first elements in order, as many as the result holds, and where they come from."""
    d = dimension(dim, x.rank)
    place = _count_before(build, x, d, descending)
    shape = replaced(x.shape, d, build.shape[d]) if build.shape else x.shape
    order = build.scatter(
        None,
        shape,
        i64,
        x.shape,
        "last",
        lambda *ranks: ordinal(ranks[d]),
        lambda *ranks: replaced(ranks, d, place.at(*ranks).as_index()),
        where=None if shape[d] == x.shape[d] else lambda *ranks: place.at(*ranks) < ordinal(shape[d]),
        hint="order",
    )
    values = build.view(x, shape, lambda *ranks: replaced(ranks, d, order.at(*ranks).as_index()))
    if not build.shape:
        return build.view(values, (), lambda: [ZERO]), build.view(order, (), lambda: [ZERO])
    return values, order


def _take_one(build: Builder, x: Array, dim: int, keepdim: bool, wanted: Wanted) -> tuple[Array, Array]:
    """The element of each row at one position of the sorted row, and where it comes from."""
    d = dimension(dim, x.rank)
    if x.shape[d] == ZERO:
        raise Unsupported("an order statistic of nothing")
    place = _count_before(build, x, d, descending=False)

    def number(free: Point, folded: Point) -> Scalar:
        is_wanted = place.at(*free[:d], *folded, *free[d:]).equals(wanted(free))
        return select(is_wanted, ordinal(folded[0]), 0)

    order = build.reduce("sum", replaced(x.shape, d), [x.shape[d]], i64, number, hint="order")

    def row(ranks: Point) -> Point:
        return replaced(ranks, d) if keepdim and build.shape else ranks

    def position(*ranks: Index) -> Point:
        found = row(ranks)
        return (*found[:d], order.at(*found).as_index(), *found[d:])

    values = build.view(x, build.shape, position)
    return values, build.view(order, build.shape, lambda *ranks: row(ranks))
