"""Reductions: sums, extrema, positions of extrema, moments and norms.

Narrow floats are folded in f32 and rounded once at the end, by a map of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tcomp.ir.dtypes import DType, boolean, compute_dtype, f64, i64
from tcomp.ir.expressions import ONE, ZERO, Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.scalars import Scalar, absolute, call, exp, is_inf, literal, log, ordinal, select, sqrt
from tcomp.lowerings.table import lowers
from tcomp.lowerings.views import product

aten = torch.ops.aten
Dims = int | Sequence[int] | None


@dataclass(frozen=True, slots=True)
class Axes:
    """Which dimensions of a shape are reduced. A tensor without dimensions counts as one element along one."""

    shape: tuple[Index, ...]
    reduced: tuple[int, ...]

    @property
    def extents(self) -> tuple[Index, ...]:
        """The reduced extents."""
        return tuple(self.shape[d] for d in self.reduced) if self.shape else (ONE,)

    @property
    def count(self) -> Index:
        """How many elements each result folds."""
        return product(self.extents)

    def kept(self, keepdim: bool) -> tuple[Index, ...]:
        """The shape of the result."""
        if keepdim:
            return tuple(ONE if d in self.reduced else extent for d, extent in enumerate(self.shape))
        return tuple(extent for d, extent in enumerate(self.shape) if d not in self.reduced)

    def join(self, free: Sequence[Index], folded: Sequence[Index]) -> list[Index]:
        """The index of an element from those of the result (with or without kept dimensions) and the reduced ones."""
        has_kept = len(free) == len(self.shape)
        ahead = iter([f for d, f in enumerate(free) if d not in self.reduced] if has_kept else free)
        behind = iter(folded)
        return [next(behind) if d in self.reduced else next(ahead) for d in range(len(self.shape))]

    def drop(self, ranks: Sequence[Index]) -> list[Index]:
        """The index of a result with kept dimensions, from an element's."""
        return [ZERO if d in self.reduced else rank for d, rank in enumerate(ranks)]


def find_axes(x: Array, dims: Dims) -> Axes:
    """The dimensions an argument names; all for None or an empty list."""
    if dims is None or dims == [] or dims == ():
        return Axes(x.shape, tuple(range(x.rank)))
    named = [dims] if isinstance(dims, int) else dims
    return Axes(x.shape, tuple(sorted({d % x.rank for d in named})) if x.rank else ())


def fold(
    build: Builder,
    monoid: str,
    x: Array,
    axes: Axes,
    dtype: DType,
    *,
    shape: Sequence[Index] | None = None,
    element: Callable[[Scalar], Scalar] | None = None,
    hint: str = "",
) -> Array:
    """Emit the reduction of `element` of x, each converted to `dtype`; with kept dimensions unless `shape` says otherwise."""
    change = element or (lambda value: value)
    return build.reduce(
        monoid,
        axes.kept(keepdim=True) if shape is None else shape,
        axes.extents,
        dtype,
        lambda free, folded: change(x.at(*axes.join(free, folded)).to(dtype)),
        hint=hint,
    )


def count_of(axes: Axes, dtype: DType) -> Scalar:
    """The number of elements folded into each result, as a scalar of a type."""
    return literal(axes.count.constant, dtype) if axes.count.is_constant else ordinal(axes.count).to(dtype)


def mean_of(build: Builder, x: Array, axes: Axes, dtype: DType, *, shape: Sequence[Index] | None = None, hint: str = "") -> Array:
    """Emit sum / count, in a wide type."""
    total = fold(build, "sum", x, axes, dtype, shape=shape, hint="sum")
    return build.map(total.shape, dtype, lambda *ranks: total.at(*ranks) / count_of(axes, dtype), hint=hint)


def rounded_fold(
    build: Builder, monoid: str, x: Array, dims: Dims, element: Callable[[Scalar], Scalar] | None = None
) -> Array:
    """Emit a reduction to the node's result, folded in the wide type of the result and rounded once."""
    wide = compute_dtype(build.dtype)
    hint = "" if wide == build.dtype else "wide"
    folded = fold(build, monoid, x, find_axes(x, dims), wide, shape=build.shape, element=element, hint=hint)
    return build.cast(folded, build.dtype)


@lowers(aten.sum.default, aten.sum.dim_IntList)
def sum_(build: Builder, x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Array:
    """Sum; of integers in i64."""
    return rounded_fold(build, "sum", x, dim)


@lowers(aten.prod.default, aten.prod.dim_int)
def prod_(build: Builder, x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Array:
    """Product; of integers in i64."""
    return rounded_fold(build, "prod", x, dim)


@lowers(aten.mean.default, aten.mean.dim)
def mean(build: Builder, x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Array:
    """Sum divided by count."""
    wide = compute_dtype(build.dtype)
    axes = find_axes(x, dim)
    total = fold(build, "sum", x, axes, wide, shape=build.shape, hint="sum")
    return build.map(build.shape, build.dtype, lambda *ranks: total.at(*ranks) / count_of(axes, wide))


@lowers(aten.amax.default, aten.max.default)
def amax(build: Builder, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    """Largest element; NaN if there is one."""
    return rounded_fold(build, "max", x, dim)


@lowers(aten.amin.default, aten.min.default)
def amin(build: Builder, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    """Smallest element; NaN if there is one."""
    return rounded_fold(build, "min", x, dim)


@lowers(aten.aminmax.default)
def aminmax(build: Builder, x: Array, *, dim: int | None = None, keepdim: bool = False) -> tuple[Array, Array]:
    """Smallest and largest element."""
    wide = compute_dtype(x.dtype)
    axes = find_axes(x, dim)
    low, high = (fold(build, m, x, axes, wide, shape=build.shape, hint=m) for m in ("min", "max"))
    return build.cast(low, x.dtype), build.cast(high, x.dtype)


@lowers(aten.any.default, aten.any.dim, aten.any.dims)
def any_(build: Builder, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    """Whether some element is not zero."""
    folded = fold(build, "any", x, find_axes(x, dim), boolean, shape=build.shape)
    return build.cast(folded, build.dtype)


@lowers(aten.all.default, aten.all.dim, aten.all.dims)
def all_(build: Builder, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    """Whether no element is zero."""
    folded = fold(build, "all", x, find_axes(x, dim), boolean, shape=build.shape)
    return build.cast(folded, build.dtype)


@lowers(aten.count_nonzero.default, aten.count_nonzero.dim_IntList)
def count_nonzero(build: Builder, x: Array, dim: Dims = None) -> Array:
    """How many elements are not zero."""
    axes = find_axes(x, dim)
    return build.reduce(
        "sum", build.shape, axes.extents, i64, lambda free, folded: x.at(*axes.join(free, folded)).to(boolean).to(i64)
    )


def _extremum(build: Builder, monoid: str, x: Array, dim: Dims, shape: Sequence[Index]) -> tuple[Array, Array]:
    """Emit an extremum and its row-major position along the reduced dimensions; the first of equals."""
    axes = find_axes(x, dim)
    value, position = build.reduce_state(
        monoid, shape, axes.extents, lambda free, folded: x.at(*axes.join(free, folded)), hints=("value", "index")
    )
    return value, position


@lowers(aten.max.dim)
def max_dim(build: Builder, x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """Largest elements along a dimension and where they are."""
    value, position = _extremum(build, "argmax", x, dim, build.shape)
    return build.cast(value, x.dtype), position


@lowers(aten.min.dim)
def min_dim(build: Builder, x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """Smallest elements along a dimension and where they are."""
    value, position = _extremum(build, "argmin", x, dim, build.shape)
    return build.cast(value, x.dtype), position


@lowers(aten.argmax.default)
def argmax(build: Builder, x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Where the largest element is, along a dimension or in the flattened tensor."""
    return _extremum(build, "argmax", x, dim, build.shape)[1]


@lowers(aten.argmin.default)
def argmin(build: Builder, x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Where the smallest element is, along a dimension or in the flattened tensor."""
    return _extremum(build, "argmin", x, dim, build.shape)[1]


def accumulator(dtype: DType) -> DType:
    """The type in which PyTorch keeps long cumulative sums and variances of a type on CPUs: f64 for f32."""
    wide = compute_dtype(dtype)
    return f64 if wide == dtype and dtype.is_float else wide


def variance_of(build: Builder, x: Array, axes: Axes, dtype: DType, correction: float) -> tuple[Array, Array]:
    """Emit variance and mean with kept dimensions, in two passes: the mean, then the mean square of deviations."""
    average = mean_of(build, x, axes, dtype, hint="mean")
    deviation = build.map(
        x.shape, dtype, lambda *ranks: x.at(*ranks).to(dtype) - average.at(*axes.drop(ranks)), hint="deviation"
    )
    squares = fold(build, "sum", deviation, axes, dtype, element=lambda d: d * d, hint="squares")

    def element(*ranks: Index) -> Scalar:
        left = count_of(axes, dtype) - float(correction)
        return squares.at(*ranks) / call("maximum", left, 0.0)

    return build.map(squares.shape, dtype, element, hint="variance"), average


def _finish(build: Builder, x: Array, axes: Axes, result: int, change: Callable[[Scalar], Scalar] | None = None) -> Array:
    """Emit a result of the node from one with kept dimensions: dimensions dropped, changed, rounded."""
    wanted = build.results[result]
    assert wanted is not None
    function = change or (lambda value: value)

    def element(*ranks: Index) -> Scalar:
        return function(x.at(*axes.join(ranks, [ZERO] * len(axes.reduced))))

    return build.map(wanted.shape, wanted.dtype, element)


def _moments(build: Builder, x: Array, dim: Dims, correction: float | None, root: bool) -> tuple[Array, Array | None]:
    """Emit the variance or its root, and the mean if it is a result."""
    axes = find_axes(x, dim)
    variance, average = variance_of(build, x, axes, accumulator(build.dtype), 1.0 if correction is None else correction)
    spread = _finish(build, variance, axes, 0, sqrt if root else None)
    return spread, _finish(build, average, axes, 1) if len(build.results) > 1 else None


@lowers(aten.var.correction)
def var(build: Builder, x: Array, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False) -> Array:
    """Variance: the sum of squared deviations divided by count - correction."""
    return _moments(build, x, dim, correction, root=False)[0]


@lowers(aten.std.correction)
def std(build: Builder, x: Array, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False) -> Array:
    """Standard deviation."""
    return _moments(build, x, dim, correction, root=True)[0]


@lowers(aten.var_mean.correction)
def var_mean(
    build: Builder, x: Array, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Array, Array | None]:
    """Variance and mean."""
    return _moments(build, x, dim, correction, root=False)


@lowers(aten.std_mean.correction)
def std_mean(
    build: Builder, x: Array, dim: Dims = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Array, Array | None]:
    """Standard deviation and mean."""
    return _moments(build, x, dim, correction, root=True)


@lowers(aten.var.dim)
def var_dim(build: Builder, x: Array, dim: Dims, unbiased: bool = True, keepdim: bool = False) -> Array:
    """Variance, divided by count - 1 if unbiased."""
    return _moments(build, x, dim, float(unbiased), root=False)[0]


@lowers(aten.std.dim)
def std_dim(build: Builder, x: Array, dim: Dims, unbiased: bool = True, keepdim: bool = False) -> Array:
    """Standard deviation, divided by count - 1 if unbiased."""
    return _moments(build, x, dim, float(unbiased), root=True)[0]


@lowers(aten.logsumexp.default)
def logsumexp(build: Builder, x: Array, dim: Dims, keepdim: bool = False) -> Array:
    """log(sum(exp(x))), with the largest element taken out."""
    dtype = compute_dtype(build.dtype)
    axes = find_axes(x, dim)
    top = fold(build, "max", x, axes, dtype, hint="max")

    def reference(ranks: Sequence[Index]) -> Scalar:
        value = top.at(*ranks)
        return select(is_inf(value), 0.0, value)

    total = build.reduce(
        "sum",
        top.shape,
        axes.extents,
        dtype,
        lambda free, folded: exp(x.at(*axes.join(free, folded)).to(dtype) - reference(free)),
        hint="sum",
    )

    def element(*ranks: Index) -> Scalar:
        kept = axes.join(ranks, [ZERO] * len(axes.reduced))
        return log(total.at(*kept)) + reference(kept)

    return build.map(build.shape, build.dtype, element)


@lowers(aten.linalg_vector_norm.default)
def vector_norm(
    build: Builder, x: Array, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: object = None
) -> Array:
    """The norm of an order; of order 0 the number of elements that are not zero."""
    wide = compute_dtype(build.dtype)
    axes = find_axes(x, dim)
    if ord in (math.inf, -math.inf):
        return rounded_fold(build, "max" if ord > 0 else "min", x, dim, absolute)
    if ord in (0, 1):
        return rounded_fold(build, "sum", x, dim, absolute if ord else lambda v: v.differs(0.0).to(v.dtype))
    total = fold(build, "sum", x, axes, wide, shape=build.shape, element=lambda v: _power_of_norm(v, ord), hint="sum")

    def element(*ranks: Index) -> Scalar:
        return sqrt(total.at(*ranks)) if ord == 2 else call("pow", total.at(*ranks), 1.0 / ord)

    return build.map(build.shape, build.dtype, element)


def _power_of_norm(value: Scalar, order: float) -> Scalar:
    return value * value if order == 2 else call("pow", absolute(value), float(order))
