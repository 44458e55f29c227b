"""Products of complex matrices: each part is one product of real ones.

With the pair rank beside the rank that is summed, a row of the left matrix is one of twice as many real numbers, and a column of the
right one, too. Both parts have the same right matrix, which is packed once, and folded if it is a weight:

    real part    (a, -b) @ (c, d)        imaginary part    (b, a) @ (c, d)        of (a + b i) * (c + d i)
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ONE, ZERO, Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.complex_functions import conjugate, plus, scaled
from tcomp.lowerings.matmul import contract
from tcomp.lowerings.pairs import Complex, Halves, Pairs, Value, emit, join, lowers_pairs, map_complex, paired, parts_of
from tcomp.lowerings.scalars import Scalar, ordinal, select

aten = torch.ops.aten


PAGE = 4096
"""Bytes from one row to the next, a multiple of which the rows of a tile lie apart that compete for the same places in a cache."""

MANY_ROWS = 64
"""Rows from which on that costs more than it takes a library to copy the rows first."""


def _multiply(build: Builder, a: Pairs, b: Pairs) -> Halves:
    """Emit the product of matrices, or batches of them, in the computing type of their parts.

    Raises Unsupported where PyTorch's library is faster: its time was 0.72 to 0.85 of ours for rows that are a multiple of a page long,
    and 0.85 to 1.1 of it for all others (complex64, 64 to 1024 rows of 64 to 1024 elements, AVX-512).
    """
    extent = a.shape[-1] * 2
    length, rows = extent * a.dtype.bytes, a.shape[-2]
    if length.is_constant and length.constant % PAGE == 0 < length.constant and rows.is_constant and rows.constant >= MANY_ROWS:
        raise Unsupported(f"a product of complex matrices with rows of {length.constant} bytes is left to PyTorch, which copies them first")

    def conjugated(*ranks: Index) -> Scalar:
        value = a.take(ranks[-1] % 2).at(*ranks[:-1], ranks[-1] // 2)
        return select(ordinal(ranks[-1] % 2).equals(0), value, -value)

    def swapped(*ranks: Index) -> Scalar:
        return a.take(1 - ranks[-1] % 2).at(*ranks[:-1], ranks[-1] // 2)

    def flat(*ranks: Index) -> Scalar:
        *batch, row, column = ranks
        return b.take(row % 2).at(*batch, row // 2, column)

    right = build.map((*b.shape[:-2], extent, b.shape[-1]), b.dtype, flat, hint="flat")

    def multiply(left: Callable[..., Scalar], hint: str, part: str) -> Array:
        return contract(
            build,
            build.map((*a.shape[:-1], extent), a.dtype, left, hint=hint),
            right,
            (*a.shape[:-1], b.shape[-1]),
            extent,
            lambda *ranks: [*ranks[:-2], ranks[-1]],
            lambda *ranks: [*ranks[:-3], ranks[-1], ranks[-2]],
            compute_dtype(a.dtype),
            hint=f"product_{part}",
        )

    return join(multiply(conjugated, "conjugated", "real"), multiply(swapped, "swapped", "imag"))


def _row(build: Builder, x: Array) -> Array:
    return paired(build).view(x, (ONE, *x.shape), lambda _, k: [k])


def _column(build: Builder, x: Array) -> Array:
    return paired(build).view(x, (*x.shape, ONE), lambda k, _: [k])


def _matmul(build: Builder, a: Array, b: Array) -> Halves:
    """Emit the product of matrices, batches of them, matrix and vector, or vectors, in the shape of the result."""
    left, right = a if a.rank > 1 else _row(build, a), b if b.rank > 1 else _column(build, b)
    assert isinstance(left, Pairs)
    assert isinstance(right, Pairs)
    product = _multiply(build, left, right)
    if a.rank > 1 and b.rank > 1:
        return product

    def take(half: Array) -> Array:
        return build.view(half, build.shape, lambda *ranks: [*ranks[: a.rank - 1], *[ZERO] * (3 - a.rank - b.rank), ZERO])

    return join(take(product.real), take(product.imaginary))


def _rounded(build: Builder, x: Halves) -> Halves:
    return join(build.cast(x.real, build.dtype), build.cast(x.imaginary, build.dtype))


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
