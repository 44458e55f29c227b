"""Comparisons, logic, bits, and operators that choose: where, clamp, masked_fill, maximum."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tcomp.ir.dtypes import boolean, compute_dtype
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder, Operand, convert, pointwise
from tcomp.lowerings.scalars import Scalar, call, copysign, is_inf, is_nan, literal, maximum, minimum, select
from tcomp.lowerings.table import lowers

aten = torch.ops.aten

_COMPARISONS = {
    "eq": (aten.eq.Tensor, aten.eq.Scalar),
    "ne": (aten.ne.Tensor, aten.ne.Scalar),
    "lt": (aten.lt.Tensor, aten.lt.Scalar),
    "le": (aten.le.Tensor, aten.le.Scalar),
    "gt": (aten.gt.Tensor, aten.gt.Scalar),
    "ge": (aten.ge.Tensor, aten.ge.Scalar),
}
_BIT_OPERATORS = {
    "and": (aten.bitwise_and.Tensor, aten.bitwise_and.Scalar, aten.bitwise_and.Scalar_Tensor),
    "or": (aten.bitwise_or.Tensor, aten.bitwise_or.Scalar, aten.bitwise_or.Scalar_Tensor),
    "xor": (aten.bitwise_xor.Tensor, aten.bitwise_xor.Scalar, aten.bitwise_xor.Scalar_Tensor),
}
_LOGICAL_OPERATORS = {
    "and": aten.logical_and.default,
    "or": aten.logical_or.default,
    "xor": aten.logical_xor.default,
}


def _comparison(operator: str) -> Callable[[Builder, Operand, Operand], Array]:
    def lower(build: Builder, a: Operand, b: Operand) -> Array:
        return pointwise(build, lambda x, y: call(operator, x, y), a, b, rounded=True)

    return lower


def _bit_operator(operator: str) -> Callable[[Builder, Operand, Operand], Array]:
    def lower(build: Builder, a: Operand, b: Operand) -> Array:
        return pointwise(build, lambda x, y: call(operator, x, y), a, b)

    return lower


def _logical_operator(operator: str) -> Callable[[Builder, Array, Array], Array]:
    def lower(build: Builder, a: Array, b: Array) -> Array:
        def element(*ranks: Index) -> Scalar:
            x, y = (convert(o, boolean, ranks, build.shape) for o in (a, b))
            return call(operator, x, y)

        return build.map(build.shape, boolean, element)

    return lower


for _name, _operators in _COMPARISONS.items():
    lowers(*_operators)(_comparison(_name))
for _name, _overloads in _BIT_OPERATORS.items():
    lowers(*_overloads)(_bit_operator(_name))
for _name, _operator in _LOGICAL_OPERATORS.items():
    lowers(_operator)(_logical_operator(_name))


@lowers(aten.logical_not.default)
def logical_not(build: Builder, x: Array) -> Array:
    """Whether x is zero."""
    return build.map(build.shape, build.dtype, lambda *ranks: ~x.at(*ranks).to(boolean))


@lowers(aten.bitwise_not.default)
def bitwise_not(build: Builder, x: Array) -> Array:
    """All bits flipped; of a bool, its negation."""
    return pointwise(build, lambda x: ~x, x)


@lowers(aten.bitwise_left_shift.Tensor, aten.bitwise_left_shift.Tensor_Scalar, aten.bitwise_left_shift.Scalar_Tensor)
@lowers(aten.__lshift__.Tensor, aten.__lshift__.Scalar)
def left_shift(build: Builder, a: Operand, b: Operand) -> Array:
    """Left shift; a distance that is negative or no less than the width gives 0."""

    def element(x: Scalar, distance: Scalar) -> Scalar:
        inside = _is_shift(distance, x.dtype.bits)
        return select(inside, call("shl", x, select(inside, distance, 0)), 0)

    return pointwise(build, element, a, b)


@lowers(aten.bitwise_right_shift.Tensor, aten.bitwise_right_shift.Tensor_Scalar, aten.bitwise_right_shift.Scalar_Tensor)
@lowers(aten.__rshift__.Tensor, aten.__rshift__.Scalar)
def right_shift(build: Builder, a: Operand, b: Operand) -> Array:
    """Arithmetic right shift; a distance that is negative or too large shifts everything but the sign out."""

    def element(x: Scalar, distance: Scalar) -> Scalar:
        if not x.dtype.signed:
            inside = _is_shift(distance, x.dtype.bits)
            return select(inside, call("shr", x, select(inside, distance, 0)), 0)
        furthest = x.dtype.bits - 1
        return call("shr", x, select(_is_shift(distance, furthest), distance, furthest))

    return pointwise(build, element, a, b)


def _is_shift(distance: Scalar, width: int) -> Scalar:
    below = distance < width
    return below & (distance >= 0) if distance.dtype.signed else below


@lowers(aten.isnan.default)
def isnan(build: Builder, x: Array) -> Array:
    """Whether x is NaN."""
    return pointwise(build, lambda x: is_nan(x) if x.dtype.is_float else literal(False, boolean), x)


@lowers(aten.isinf.default)
def isinf(build: Builder, x: Array) -> Array:
    """Whether x is an infinity."""
    return pointwise(build, lambda x: is_inf(x) if x.dtype.is_float else literal(False, boolean), x)


@lowers(aten.isfinite.default)
def isfinite(build: Builder, x: Array) -> Array:
    """Whether x is a number and not an infinity."""
    return pointwise(build, lambda x: ~(is_nan(x) | is_inf(x)) if x.dtype.is_float else literal(True, boolean), x)


@lowers(aten.signbit.default)
def signbit(build: Builder, x: Array) -> Array:
    """Whether the sign is minus; it is for -0.0."""

    def element(x: Scalar) -> Scalar:
        if x.dtype == boolean or not x.dtype.signed:
            return literal(False, boolean)
        return copysign(literal(1.0, x.dtype), x) < 0.0 if x.dtype.is_float else x < 0

    return pointwise(build, element, x)


@lowers(aten.maximum.default)
def maximum_(build: Builder, a: Operand, b: Operand) -> Array:
    """The larger; NaN if either is."""
    return pointwise(build, maximum, a, b)


@lowers(aten.minimum.default)
def minimum_(build: Builder, a: Operand, b: Operand) -> Array:
    """The smaller; NaN if either is."""
    return pointwise(build, minimum, a, b)


@lowers(aten.fmax.default)
def fmax(build: Builder, a: Array, b: Array) -> Array:
    """The larger; a number rather than NaN."""
    return pointwise(build, lambda x, y: _preferring_numbers(maximum, x, y), a, b)


@lowers(aten.fmin.default)
def fmin(build: Builder, a: Array, b: Array) -> Array:
    """The smaller; a number rather than NaN."""
    return pointwise(build, lambda x, y: _preferring_numbers(minimum, x, y), a, b)


def _preferring_numbers(choose: Callable[[Scalar, Scalar], Scalar], x: Scalar, y: Scalar) -> Scalar:
    if not x.dtype.is_float:
        return choose(x, y)
    return select(is_nan(x), y, select(is_nan(y), x, choose(x, y)))


@lowers(aten.clamp.default, aten.clamp.Tensor)
def clamp(build: Builder, x: Array, min: Operand | None = None, max: Operand | None = None) -> Array:
    """Bring into [min, max]; max where they cross."""
    operands = [x, *(bound for bound in (min, max) if bound is not None)]

    def element(x: Scalar, *bounds: Scalar) -> Scalar:
        rest = list(bounds)
        if min is not None:
            x = maximum(x, rest.pop(0))
        return x if max is None else minimum(x, rest.pop(0))

    return pointwise(build, element, *operands)


@lowers(aten.clamp_min.default, aten.clamp_min.Tensor)
def clamp_min(build: Builder, x: Array, bound: Operand) -> Array:
    """The larger of x and a bound."""
    return clamp(build, x, min=bound)


@lowers(aten.clamp_max.default, aten.clamp_max.Tensor)
def clamp_max(build: Builder, x: Array, bound: Operand) -> Array:
    """The smaller of x and a bound."""
    return clamp(build, x, max=bound)


@lowers(aten.where.self, aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther)
def where(build: Builder, condition: Array, a: Operand, b: Operand) -> Array:
    """Choose a where the condition holds, else b."""
    dtype = compute_dtype(build.dtype)

    def element(*ranks: Index) -> Scalar:
        yes, no = (convert(o, dtype, ranks, build.shape) for o in (a, b))
        return select(condition.over(ranks, build.shape).to(boolean), yes, no)

    return build.map(build.shape, build.dtype, element)


@lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def masked_fill(build: Builder, x: Array, mask: Array, value: Operand) -> Array:
    """The value where the mask holds, else x."""
    return where(build, mask, value, x)
