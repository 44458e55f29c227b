"""Layer, group, batch and root-mean-square normalisation, in two passes: mean, then mean square of deviations.

Everything up to the result stays in the wide type; statistics are rounded only where the operator returns them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index, as_index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.reductions import Axes, count_of, fold, mean_of
from tcomp.lowerings.scalars import Scalar, call, literal
from tcomp.lowerings.table import lowers
from tcomp.lowerings.views import reshape

aten = torch.ops.aten


def _last_axes(x: Array, count: int) -> Axes:
    return Axes(x.shape, tuple(range(x.rank - count, x.rank)))


def _inverse_root(build: Builder, squares: Array, axes: Axes, eps: float) -> Array:
    """Emit 1 / sqrt(squares / count + eps)."""
    dtype = squares.dtype
    return build.map(
        squares.shape, dtype, lambda *ranks: call("rsqrt", squares.at(*ranks) / count_of(axes, dtype) + eps), hint="rstd"
    )


def _affine(value: Scalar, weight: Scalar | None, bias: Scalar | None) -> Scalar:
    scaled = value if weight is None else value * weight
    return scaled if bias is None else scaled + bias


def _result(build: Builder, x: Array, number: int) -> Array:
    """Emit x rounded and shaped as a result of the node."""
    wanted = build.results[number]
    assert wanted is not None
    return build.cast(reshape(build, x, wanted.shape) if x.shape != wanted.shape else x, wanted.dtype)


@lowers(aten.native_layer_norm.default)
def layer_norm(
    build: Builder, x: Array, normalized: Sequence[object], weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Normalised over the last dimensions; also the mean and the inverse deviation."""
    dtype = compute_dtype(x.dtype)
    count = len(normalized)
    axes = _last_axes(x, count)
    mean = mean_of(build, x, axes, dtype, hint="mean")
    deviation = build.map(
        x.shape, dtype, lambda *ranks: x.at(*ranks).to(dtype) - mean.at(*axes.drop(ranks)), hint="deviation"
    )
    squares = fold(build, "sum", deviation, axes, dtype, element=lambda d: d * d, hint="squares")
    rstd = _inverse_root(build, squares, axes, eps)

    def element(*ranks: Index) -> Scalar:
        w, b = (None if p is None else p.at(*ranks[-count:]).to(dtype) for p in (weight, bias))
        return _affine(deviation.at(*ranks) * rstd.at(*axes.drop(ranks)), w, b)

    out = build.map(x.shape, build.dtype, element)
    return out, _result(build, mean, 1), _result(build, rstd, 2)


@lowers(aten.native_layer_norm_backward.default)
def layer_norm_backward(
    build: Builder,
    grad: Array,
    x: Array,
    normalized: Sequence[object],
    mean: Array,
    rstd: Array,
    weight: Array | None,
    bias: Array | None,
    wanted: Sequence[bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of layer_norm: of x, weight and bias, as far as wanted."""
    dtype = compute_dtype(x.dtype)
    count = len(normalized)
    axes = _last_axes(x, count)
    outer = Axes(x.shape, tuple(range(x.rank - count)))
    unit = build.map(
        x.shape,
        dtype,
        lambda *ranks: (x.at(*ranks).to(dtype) - mean.at(*axes.drop(ranks)).to(dtype)) * rstd.at(*axes.drop(ranks)).to(dtype),
        hint="unit",
    )
    grad_x = grad_weight = grad_bias = None
    if wanted[0]:
        grad_unit = build.map(
            x.shape,
            dtype,
            lambda *ranks: _affine(
                grad.at(*ranks).to(dtype), None if weight is None else weight.at(*ranks[-count:]).to(dtype), None
            ),
            hint="grad_unit",
        )
        along = mean_of(build, grad_unit, axes, dtype, hint="mean")
        across_sum = _sum_of_products(build, grad_unit, unit, axes, axes.kept(keepdim=True), dtype, "across_sum")

        def element(*ranks: Index) -> Scalar:
            kept = axes.drop(ranks)
            across = across_sum.at(*kept) / count_of(axes, dtype)
            return rstd.at(*kept).to(dtype) * (grad_unit.at(*ranks) - along.at(*kept) - unit.at(*ranks) * across)

        grad_x = build.map(x.shape, build.dtype, element)
    if wanted[1] and weight is not None:
        total = _sum_of_products(build, grad, unit, outer, weight.shape, dtype, "grad_weight")
        grad_weight = _result(build, total, 1)
    if wanted[2] and bias is not None:
        total = fold(build, "sum", grad, outer, dtype, shape=bias.shape, hint="grad_bias")
        grad_bias = _result(build, total, 2)
    return grad_x, grad_weight, grad_bias


def _sum_of_products(
    build: Builder, a: Array, b: Array, axes: Axes, shape: Sequence[Index], dtype: DType, hint: str
) -> Array:
    def element(free: tuple[Index, ...], folded: tuple[Index, ...]) -> Scalar:
        index = axes.join(free, folded)
        return a.at(*index).to(dtype) * b.at(*index).to(dtype)

    return build.reduce("sum", shape, axes.extents, dtype, element, hint=hint)


@lowers(aten._fused_rms_norm.default)
def fused_rms_norm(
    build: Builder, x: Array, normalized: Sequence[object], weight: Array | None, eps: float | None
) -> tuple[Array, Array]:
    """Divided by the root of the mean square over the last dimensions; also the inverse root."""
    out, rstd = _rms_norm(build, x, len(normalized), weight, eps)
    return out, _result(build, rstd, 1)


@lowers(aten.rms_norm.default)
def rms_norm(
    build: Builder, x: Array, normalized: Sequence[object], weight: Array | None = None, eps: float | None = None
) -> Array:
    """Divided by the root of the mean square over the last dimensions."""
    return _rms_norm(build, x, len(normalized), weight, eps)[0]


def _rms_norm(build: Builder, x: Array, count: int, weight: Array | None, eps: float | None) -> tuple[Array, Array]:
    dtype = compute_dtype(x.dtype)
    axes = _last_axes(x, count)
    squares = fold(build, "sum", x, axes, dtype, element=lambda v: v * v, hint="squares")
    rstd = _inverse_root(build, squares, axes, dtype.epsilon if eps is None else eps)

    def element(*ranks: Index) -> Scalar:
        scale = None if weight is None else weight.at(*ranks[-count:]).to(dtype)
        return _affine(x.at(*ranks).to(dtype) * rstd.at(*axes.drop(ranks)), scale, None)

    return build.map(x.shape, build.dtype, element), rstd


@lowers(aten.native_group_norm.default)
def group_norm(
    build: Builder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    batch: int | Index,
    channels: int | Index,
    area: int | Index,
    groups: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Normalised over groups of channels and all places; also mean and inverse deviation of each group."""
    dtype = compute_dtype(x.dtype)
    size = as_index(channels) // groups
    grouped = Axes((x.shape[0], as_index(groups), size, *x.shape[2:]), tuple(range(2, x.rank + 1)))

    def source(free: Sequence[Index], folded: Sequence[Index]) -> list[Index]:
        return [free[0], free[1] * size + folded[0], *folded[1:]]

    def total(element: Callable[[list[Index], Sequence[Index]], Scalar], hint: str) -> Array:
        return build.reduce(
            "sum", grouped.shape[:2], grouped.extents, dtype, lambda free, folded: element(source(free, folded), free), hint=hint
        )

    sums = total(lambda index, _: x.at(*index).to(dtype), "sum")
    mean = build.map(sums.shape, dtype, lambda *ranks: sums.at(*ranks) / count_of(grouped, dtype), hint="mean")
    deviation = build.map(
        x.shape,
        dtype,
        lambda *ranks: x.at(*ranks).to(dtype) - mean.at(ranks[0], ranks[1] // size),
        hint="deviation",
    )
    squares = total(lambda index, _: deviation.at(*index) * deviation.at(*index), "squares")
    rstd = _inverse_root(build, squares, grouped, eps)

    def element(*ranks: Index) -> Scalar:
        w, b = (None if p is None else p.at(ranks[1]).to(dtype) for p in (weight, bias))
        return _affine(deviation.at(*ranks) * rstd.at(ranks[0], ranks[1] // size), w, b)

    out = build.map(x.shape, build.dtype, element)
    return out, _result(build, mean, 1), _result(build, rstd, 2)


def _scale_and_shift(
    build: Builder, mean: Array, rstd: Array, weight: Array | None, bias: Array | None, dtype: DType
) -> tuple[Array, Array]:
    """Emit scale = rstd * weight and shift = bias - mean * scale, so that the result is x * scale + shift."""
    scale = build.map(
        mean.shape,
        dtype,
        lambda c: _affine(rstd.at(c), None if weight is None else weight.at(c).to(dtype), None),
        hint="scale",
    )

    def shift(c: Index) -> Scalar:
        start = literal(0.0, dtype) if bias is None else bias.at(c).to(dtype)
        return start - mean.at(c).to(dtype) * scale.at(c)

    return scale, build.map(mean.shape, dtype, shift, hint="shift")


def _nothing(build: Builder, number: int) -> Array:
    """Emit an empty statistic, which operators return where they compute none."""
    wanted = build.results[number]
    assert wanted is not None
    return build.map(wanted.shape, wanted.dtype, lambda *_: literal(0, wanted.dtype), hint="none")


@lowers(aten._native_batch_norm_legit_no_training.default)
def batch_norm_inference(
    build: Builder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    momentum: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Normalised by running statistics, as one scale and shift for each channel."""
    dtype = compute_dtype(x.dtype)
    rstd = build.map(
        running_var.shape, dtype, lambda c: call("rsqrt", running_var.at(c).to(dtype) + eps), hint="rstd"
    )
    scale, shift = _scale_and_shift(build, running_mean, rstd, weight, bias, dtype)
    out = build.map(
        x.shape, build.dtype, lambda *ranks: x.at(*ranks).to(dtype) * scale.at(ranks[1]) + shift.at(ranks[1])
    )
    return out, _nothing(build, 1), _nothing(build, 2)


@lowers(aten._native_batch_norm_legit.no_stats)
def batch_norm_no_stats(
    build: Builder, x: Array, weight: Array | None, bias: Array | None, training: bool, momentum: float, eps: float
) -> tuple[Array, Array, Array]:
    """Normalised by the statistics of the batch; also mean and inverse deviation."""
    out, mean, rstd, _ = _batch_norm(build, x, weight, bias, eps)
    return out, _result(build, mean, 1), _result(build, rstd, 2)


@lowers(aten.native_batch_norm.default)
def batch_norm(
    build: Builder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Normalised by running statistics, or by those of the batch where there are no running ones to update."""
    if not training and running_mean is not None and running_var is not None:
        return batch_norm_inference(build, x, weight, bias, running_mean, running_var, momentum, eps)
    if running_mean is not None or running_var is not None:
        raise Unsupported("batch normalisation that updates its statistics in place", help="make the graph functional first")
    return batch_norm_no_stats(build, x, weight, bias, training, momentum, eps)


@lowers(aten._native_batch_norm_legit_functional.default)
def batch_norm_functional(
    build: Builder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, ...]:
    """As its name; the running statistics come back moved toward those of the batch."""
    if not training:
        inference = batch_norm_inference(build, x, weight, bias, running_mean, running_var, momentum, eps)
        return *inference, _result(build, running_mean, 3), _result(build, running_var, 4)
    out, mean, rstd, squares = _batch_norm(build, x, weight, bias, eps)
    dtype = mean.dtype
    axes = _channel_axes(x)

    def moved(old: Array, number: int, new: Callable[[Index], Scalar]) -> Array:
        wanted = build.results[number]
        assert wanted is not None
        return build.map(
            wanted.shape, wanted.dtype, lambda c: old.at(c).to(dtype) * (1.0 - momentum) + new(c) * momentum
        )

    new_mean = moved(running_mean, 3, lambda c: mean.at(c))
    # Running variances are unbiased.
    new_var = moved(running_var, 4, lambda c: squares.at(c) / (count_of(axes, dtype) - 1.0))
    return out, _result(build, mean, 1), _result(build, rstd, 2), new_mean, new_var


def _channel_axes(x: Array) -> Axes:
    return Axes(x.shape, tuple(d for d in range(x.rank) if d != 1))


def _batch_norm(
    build: Builder, x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Emit result, mean, inverse deviation and sum of squared deviations, the latter three for each channel."""
    dtype = compute_dtype(x.dtype)
    axes = _channel_axes(x)
    shape = (x.shape[1],)
    mean = mean_of(build, x, axes, dtype, shape=shape, hint="mean")
    deviation = build.map(
        x.shape, dtype, lambda *ranks: x.at(*ranks).to(dtype) - mean.at(ranks[1]), hint="deviation"
    )
    squares = fold(build, "sum", deviation, axes, dtype, shape=shape, element=lambda d: d * d, hint="squares")
    rstd = _inverse_root(build, squares, axes, eps)

    def element(*ranks: Index) -> Scalar:
        w, b = (None if p is None else p.at(ranks[1]).to(dtype) for p in (weight, bias))
        return _affine(deviation.at(*ranks) * rstd.at(ranks[1]), w, b)

    return build.map(x.shape, build.dtype, element), mean, rstd, squares
