"""Products of complex matrices: each is one product of real ones.

A complex number that multiplies from the right is a matrix that turns pairs into pairs,

    (a, b) * (c + d i) = (a, b) @ [[c, d], [-d, c]]

so with the pair rank of the left matrix beside the rank that is summed, as it lies in memory, the right one is a real matrix of twice
as many rows and columns, which is folded if it is a weight.
"""

from __future__ import annotations

import torch

from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.expressions import ONE, ZERO, Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.complex_functions import conjugate, plus, scaled
from tcomp.lowerings.matmul import contract
from tcomp.lowerings.pairs import PAIR_RANK, Complex, Pairs, Value, emit, lowers_pairs, map_complex, paired, parts_of
from tcomp.lowerings.scalars import Scalar, ordinal, select

aten = torch.ops.aten


def _multiply(build: Builder, a: Pairs, b: Pairs) -> Array:
    """Emit the product of matrices, or batches of them, in the computing type of their parts."""
    extent, width = a.shape[-1] * 2, b.shape[-1] * 2

    def flat(*ranks: Index) -> Scalar:
        return a.take(ranks[-1] % 2).at(*ranks[:-1], ranks[-1] // 2)

    def turning(*ranks: Index) -> Scalar:
        *batch, row, column = ranks
        value = b.take((row + column) % 2).at(*batch, row // 2, column // 2)
        return select(ordinal(row % 2) > ordinal(column % 2), -value, value)

    total = contract(
        build,
        build.map((*a.shape[:-1], extent), a.dtype, flat, hint="flat"),
        build.map((*b.shape[:-2], extent, width), b.dtype, turning, hint="turning"),
        (*a.shape[:-1], width),
        extent,
        lambda *ranks: [*ranks[:-2], ranks[-1]],
        lambda *ranks: [*ranks[:-3], ranks[-1], ranks[-2]],
        compute_dtype(a.dtype),
        hint="product",
    )
    return paired(build).map(
        (*a.shape[:-1], b.shape[-1]), total.dtype, lambda *ranks: total.at(*ranks[:-1], ranks[-1] * 2 + PAIR_RANK), hint="pairs"
    )


def _row(build: Builder, x: Array) -> Array:
    return paired(build).view(x, (ONE, *x.shape), lambda _, k: [k])


def _column(build: Builder, x: Array) -> Array:
    return paired(build).view(x, (*x.shape, ONE), lambda k, _: [k])


def _matmul(build: Builder, a: Array, b: Array) -> Array:
    """Emit the product of matrices, batches of them, matrix and vector, or vectors, in the shape of the result."""
    left, right = a if a.rank > 1 else _row(build, a), b if b.rank > 1 else _column(build, b)
    assert isinstance(left, Pairs)
    assert isinstance(right, Pairs)
    product = _multiply(build, left, right)
    if a.rank > 1 and b.rank > 1:
        return product
    return paired(build).view(product, build.shape, lambda *ranks: [*ranks[: a.rank - 1], *[ZERO] * (3 - a.rank - b.rank), ZERO])


def _rounded(build: Builder, x: Array) -> Array:
    return paired(build).cast(x, build.dtype)


@lowers_pairs(aten.mm.default, aten.bmm.default, aten.mv.default, aten.dot.default)
def matmul(build: Builder, a: Pairs, b: Pairs) -> Array:
    """Product of matrices, batches of matrices, matrix and vector, or vectors."""
    return _rounded(build, _matmul(build, a, b))


@lowers_pairs(aten.vdot.default)
def vdot(build: Builder, a: Pairs, b: Pairs) -> Array:
    """Product of vectors, the first conjugated."""
    left = emit(build, a.shape, lambda k: conjugate(parts_of(a, build.dtype, (k,), a.shape)), hint="conjugate")
    return _rounded(build, _matmul(build, left, b))


@lowers_pairs(aten.addmm.default, aten.baddbmm.default, aten.addmv.default)
def addmm(build: Builder, bias: Pairs, a: Pairs, b: Pairs, *, beta: Value = 1, alpha: Value = 1) -> Array:
    """Scaled sum: beta * bias + alpha * (a @ b); with beta 0 the bias is not read."""
    product = _matmul(build, a, b)

    def element(*operands: Complex) -> Complex:
        result = operands[0] if alpha == 1 else scaled(operands[0], alpha)
        return result if beta == 0 else plus(result, operands[1] if beta == 1 else scaled(operands[1], beta))

    return map_complex(build, element, product, *(() if beta == 0 else (bias,)))
