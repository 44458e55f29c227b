"""Softmax and its logarithm: the largest element, exponentials, their sum, a division."""

from __future__ import annotations

import torch

from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.reductions import find_axes, fold
from tcomp.lowerings.scalars import Scalar, exp, log
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


@lowers(aten._softmax.default)
def softmax(build: Builder, x: Array, dim: int, half_to_float: bool = False) -> Array:
    """Exponentials of x - max divided by their sum."""
    dtype = compute_dtype(x.dtype)
    axes = find_axes(x, dim)
    top = fold(build, "max", x, axes, dtype, hint="max")
    power = build.map(
        x.shape, dtype, lambda *ranks: exp(x.at(*ranks).to(dtype) - top.at(*axes.drop(ranks))), hint="exp"
    )
    total = fold(build, "sum", power, axes, dtype, hint="sum")
    return build.map(build.shape, build.dtype, lambda *ranks: power.at(*ranks) / total.at(*axes.drop(ranks)))


@lowers(aten._log_softmax.default)
def log_softmax(build: Builder, x: Array, dim: int, half_to_float: bool = False) -> Array:
    """X - max - log(sum(exp(x - max)))."""
    dtype = compute_dtype(x.dtype)
    axes = find_axes(x, dim)
    top = fold(build, "max", x, axes, dtype, hint="max")
    shifted = build.map(
        x.shape, dtype, lambda *ranks: x.at(*ranks).to(dtype) - top.at(*axes.drop(ranks)), hint="shifted"
    )
    total = fold(build, "sum", shifted, axes, dtype, element=exp, hint="sum")
    return build.map(build.shape, build.dtype, lambda *ranks: shifted.at(*ranks) - log(total.at(*axes.drop(ranks))))


@lowers(aten._softmax_backward_data.default)
def softmax_backward(build: Builder, grad: Array, y: Array, dim: int, input_dtype: torch.dtype) -> Array:
    """Gradient of softmax: (grad - sum(grad * y)) * y."""
    dtype = compute_dtype(grad.dtype)
    axes = find_axes(y, dim)
    total = build.reduce(
        "sum",
        axes.kept(keepdim=True),
        axes.extents,
        dtype,
        lambda free, folded: _product(grad, y, axes.join(free, folded), dtype),
        hint="sum",
    )

    def element(*ranks: Index) -> Scalar:
        return (grad.at(*ranks).to(dtype) - total.at(*axes.drop(ranks))) * y.at(*ranks).to(dtype)

    return build.map(build.shape, build.dtype, element)


@lowers(aten._log_softmax_backward_data.default)
def log_softmax_backward(build: Builder, grad: Array, y: Array, dim: int, input_dtype: torch.dtype) -> Array:
    """Gradient of log_softmax: grad - exp(y) * sum(grad)."""
    dtype = compute_dtype(grad.dtype)
    axes = find_axes(y, dim)
    total = fold(build, "sum", grad, axes, dtype, hint="sum")

    def element(*ranks: Index) -> Scalar:
        return grad.at(*ranks).to(dtype) - exp(y.at(*ranks).to(dtype)) * total.at(*axes.drop(ranks))

    return build.map(build.shape, build.dtype, element)


def _product(a: Array, b: Array, index: list[Index], dtype: DType) -> Scalar:
    return a.at(*index).to(dtype) * b.at(*index).to(dtype)
