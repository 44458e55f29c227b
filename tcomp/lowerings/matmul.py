"""Matrix products: exactly `sum(r) A[i, r] * B[r, j]`, with everything added to them a map of its own.

Narrow floats are accumulated in f32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tcomp.ir.dtypes import DType, boolean, compute_dtype
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.scalars import Scalar
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


def contract(
    build: Builder,
    a: Array,
    b: Array,
    shape: Sequence[Index],
    extent: Index,
    left: Callable[..., Sequence[Index]],
    right: Callable[..., Sequence[Index]],
    dtype: DType,
    *,
    hint: str = "",
) -> Array:
    """Emit `sum(r) A[left(i, j, r)] * B[right(i, j, r)]` in a wide type."""
    if boolean in (a.dtype, b.dtype):
        raise Unsupported("a matrix product of bools", help="convert to an integer or float type first")
    return build.reduce(
        "sum",
        shape,
        (extent,),
        dtype,
        lambda free, folded: a.at(*left(*free, *folded)).to(dtype) * b.at(*right(*free, *folded)).to(dtype),
        hint=hint,
    )


def _product(build: Builder, a: Array, b: Array, shape: Sequence[Index], dtype: DType, hint: str) -> Array:
    """Emit the product of matrices, of batches of matrices, or with vectors on either side."""
    if b.rank == 1:
        return contract(
            build, a, b, shape, b.shape[0], lambda *ranks: ranks, lambda *ranks: ranks[-1:], dtype, hint=hint
        )
    return contract(
        build,
        a,
        b,
        shape,
        a.shape[-1],
        lambda *ranks: [*ranks[:-2], ranks[-1]],
        lambda *ranks: [*ranks[:-3], ranks[-1], ranks[-2]],
        dtype,
        hint=hint,
    )


@lowers(aten.mm.default, aten.bmm.default, aten.mv.default, aten.dot.default, aten.vdot.default, aten._int_mm.default)
def matmul(build: Builder, a: Array, b: Array) -> Array:
    """Product of matrices, batches of matrices, matrix and vector, or vectors."""
    wide = compute_dtype(build.dtype)
    total = _product(build, a, b, build.shape, wide, "" if wide == build.dtype else "wide")
    return build.cast(total, build.dtype)


@lowers(aten.mm.dtype, aten.bmm.dtype)
def wide_matmul(build: Builder, a: Array, b: Array, out_dtype: torch.dtype) -> Array:
    """Product of matrices, or batches of them, in a type wider than theirs, which the builder knows."""
    return matmul(build, a, b)


@lowers(aten.addmm.default, aten.baddbmm.default, aten.addmv.default)
def addmm(build: Builder, bias: Array, a: Array, b: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    """Scaled sum: beta * bias + alpha * (a @ b); with beta 0 the bias is not read."""
    wide = compute_dtype(build.dtype)
    total = _product(build, a, b, build.shape, wide, "product")

    def element(*ranks: Index) -> Scalar:
        scaled = _scaled(total.at(*ranks), alpha)
        return scaled if beta == 0 else scaled + _scaled(bias.over(ranks, build.shape).to(wide), beta)

    return build.map(build.shape, build.dtype, element)


def _scaled(x: Scalar, factor: float) -> Scalar:
    return x if factor == 1 else x * factor


@lowers(aten.addbmm.default)
def addbmm(build: Builder, bias: Array, a: Array, b: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    """Scaled sum: beta * bias + alpha * the sum over the batch of a @ b."""
    wide = compute_dtype(build.dtype)
    total = build.reduce(
        "sum",
        build.shape,
        (a.shape[0], a.shape[2]),
        wide,
        lambda free, folded: a.at(folded[0], free[0], folded[1]).to(wide) * b.at(*folded, free[1]).to(wide),
        hint="product",
    )

    def element(*ranks: Index) -> Scalar:
        scaled = _scaled(total.at(*ranks), alpha)
        return scaled if beta == 0 else scaled + _scaled(bias.over(ranks, build.shape).to(wide), beta)

    return build.map(build.shape, build.dtype, element)


@lowers(aten.linear.default)
def linear(build: Builder, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Product with a transposed matrix, plus bias."""
    wide = compute_dtype(build.dtype)
    total = contract(
        build,
        x,
        weight,
        build.shape,
        x.shape[-1],
        lambda *ranks: [*ranks[:-2], ranks[-1]] if weight.rank == 2 else ranks,
        lambda *ranks: ranks[-2:] if weight.rank == 2 else ranks[-1:],
        wide,
        hint="product",
    )

    def element(*ranks: Index) -> Scalar:
        value = total.at(*ranks)
        return value if bias is None else value + bias.over(ranks, build.shape).to(wide)

    return build.map(build.shape, build.dtype, element)
