"""Arithmetic operators: sums, products, quotients, powers, and the elementary functions of one argument."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from tcomp.ir.dtypes import boolean, compute_dtype
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder, Operand, common_dtype, pointwise
from tcomp.lowerings.scalars import (
    Scalar,
    absolute,
    call,
    copysign,
    exp,
    is_inf,
    is_nan,
    literal,
    log,
    log1p,
    maximum,
    minimum,
    ordinal,
    select,
    sqrt,
)
from tcomp.lowerings.table import lowers
from tcomp.torch_types import TORCH_DTYPES

aten = torch.ops.aten

LARGEST_UNROLLED_POWER = 8
"""Integer powers of floats up to this one are multiplications, each of which rounds; larger ones call `pow`."""

_FLOAT_FUNCTIONS = {
    aten.acos.default: "acos",
    aten.acosh.default: "acosh",
    aten.asin.default: "asin",
    aten.asinh.default: "asinh",
    aten.atan.default: "atan",
    aten.atanh.default: "atanh",
    aten.cos.default: "cos",
    aten.cosh.default: "cosh",
    aten.digamma.default: "digamma",
    aten.erf.default: "erf",
    aten.erfc.default: "erfc",
    aten.erfinv.default: "erfinv",
    aten.exp.default: "exp",
    aten.exp2.default: "exp2",
    aten.expm1.default: "expm1",
    aten.lgamma.default: "lgamma",
    aten.log.default: "log",
    aten.log10.default: "log10",
    aten.log1p.default: "log1p",
    aten.log2.default: "log2",
    aten.reciprocal.default: "reciprocal",
    aten.rsqrt.default: "rsqrt",
    aten.sigmoid.default: "sigmoid",
    aten.sin.default: "sin",
    aten.sinh.default: "sinh",
    aten.sqrt.default: "sqrt",
    aten.tan.default: "tan",
    aten.tanh.default: "tanh",
}
"""Functions of one argument whose result is a float, integers being converted first."""

_ROUNDING_FUNCTIONS = {
    aten.ceil.default: "ceil",
    aten.floor.default: "floor",
    aten.round.default: "round",
    aten.trunc.default: "trunc",
}
"""Functions that leave integers alone."""


def _float_function(operator: str) -> Callable[[Builder, Array], Array]:
    def lower(build: Builder, x: Array) -> Array:
        return pointwise(build, lambda x: call(operator, x), x, float_result=True)

    return lower


def _rounding_function(operator: str) -> Callable[[Builder, Array], Array]:
    def lower(build: Builder, x: Array) -> Array:
        return pointwise(build, lambda x: call(operator, x) if x.dtype.is_float else x, x)

    return lower


for _operator, _name in _FLOAT_FUNCTIONS.items():
    lowers(_operator)(_float_function(_name))
for _operator, _name in _ROUNDING_FUNCTIONS.items():
    lowers(_operator)(_rounding_function(_name))


@lowers(aten.add.Tensor, aten.add.Scalar)
def add(build: Builder, a: Operand, b: Operand, alpha: Index | float = 1) -> Array:
    """Sum: a + alpha * b; of bools, their disjunction."""
    return pointwise(build, lambda x, y: _sum(x, _product(y, alpha)), a, b)


@lowers(aten.sub.Tensor, aten.sub.Scalar)
def sub(build: Builder, a: Operand, b: Operand, alpha: Index | float = 1) -> Array:
    """Difference: a - alpha * b."""
    return pointwise(build, lambda x, y: x - _product(y, alpha), a, b)


@lowers(aten.rsub.Tensor, aten.rsub.Scalar)
def rsub(build: Builder, a: Operand, b: Operand, alpha: Index | float = 1) -> Array:
    """Difference: b - alpha * a."""
    return sub(build, b, a, alpha)


@lowers(aten.mul.Tensor, aten.mul.Scalar)
def mul(build: Builder, a: Operand, b: Operand) -> Array:
    """Product; of bools, their conjunction."""
    return pointwise(build, lambda x, y: x & y if x.dtype == boolean else x * y, a, b)


def _sum(x: Scalar, y: Scalar) -> Scalar:
    return x | y if x.dtype == boolean else x + y


def _product(x: Scalar, factor: Index | float) -> Scalar:
    if isinstance(factor, Index):
        return x & ordinal(factor).differs(0) if x.dtype == boolean else x * ordinal(factor).to(x.dtype)
    return x if factor == 1 else x & bool(factor) if x.dtype == boolean else x * factor


@lowers(aten.square.default)
def square(build: Builder, x: Array) -> Array:
    """Square: x * x."""
    return pow_scalar(build, x, 2)


@lowers(aten.addcmul.default)
def addcmul(build: Builder, a: Array, b: Array, c: Array, *, value: Index | float = 1) -> Array:
    """Fused product: a + value * b * c."""
    return pointwise(build, lambda x, y, z: x + _product(y * z, value), a, b, c)


@lowers(aten.addcdiv.default)
def addcdiv(build: Builder, a: Array, b: Array, c: Array, *, value: Index | float = 1) -> Array:
    """Fused quotient: a + value * b / c."""
    return pointwise(build, lambda x, y, z: x + _product(y / z, value), a, b, c)


@lowers(aten.lerp.Scalar, aten.lerp.Tensor)
def lerp(build: Builder, a: Array, b: Array, weight: Operand) -> Array:
    """Interpolation, from the nearer end as torch computes it."""

    def element(x: Scalar, y: Scalar, w: Scalar) -> Scalar:
        return select(absolute(w) < 0.5, x + w * (y - x), y - (y - x) * (1.0 - w))

    return pointwise(build, element, a, b, weight)


@lowers(aten.div.Tensor, aten.div.Scalar, aten.true_divide.Tensor)
def div(build: Builder, a: Operand, b: Operand) -> Array:
    """True division."""
    return pointwise(build, lambda x, y: x / y, a, b, float_result=True)


@lowers(aten.div.Tensor_mode, aten.div.Scalar_mode)
def div_mode(build: Builder, a: Operand, b: Operand, *, rounding_mode: str | None) -> Array:
    """Division with a rounding mode: none, toward zero, or toward minus infinity."""
    match rounding_mode:
        case None:
            return div(build, a, b)
        case "trunc":
            return pointwise(build, _truncating_division, a, b)
        case _:
            return floor_divide(build, a, b)


@lowers(aten.floor_divide.default, aten.floor_divide.Scalar)
def floor_divide(build: Builder, a: Operand, b: Operand) -> Array:
    """Division rounded toward minus infinity."""
    return pointwise(build, _floor_division, a, b)


def _truncating_division(x: Scalar, y: Scalar) -> Scalar:
    return call("trunc", x / y) if x.dtype.is_float else call("truncdiv", x, y)


def _floor_division(x: Scalar, y: Scalar) -> Scalar:
    """As Python divides floats: exact where the quotient is an integer, with the sign of x / y on zero."""
    if not x.dtype.is_float:
        return call("floordiv", x, y)
    remainder = call("fmod", x, y)
    quotient = (x - remainder) / y
    quotient = select(remainder.differs(0.0) & (y < 0.0).differs(remainder < 0.0), quotient - 1.0, quotient)
    floor = call("floor", quotient)
    nearest = select(quotient - floor > 0.5, floor + 1.0, floor)
    result = select(quotient.equals(0.0), copysign(literal(0.0, x.dtype), x / y), nearest)
    return select(y.equals(0.0), x / y, result)


@lowers(aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor)
def remainder(build: Builder, a: Operand, b: Operand) -> Array:
    """Remainder of floor division, with the sign of b."""
    return pointwise(build, lambda x, y: call("mod", x, y), a, b)


@lowers(aten.fmod.Tensor, aten.fmod.Scalar)
def fmod(build: Builder, a: Operand, b: Operand) -> Array:
    """Remainder of division toward zero, with the sign of a."""
    return pointwise(build, lambda x, y: call("fmod", x, y), a, b)


@lowers(aten.pow.Tensor_Scalar)
def pow_scalar(build: Builder, x: Array, exponent: Index | float) -> Array:
    """Power with a constant exponent: small integers and halves become multiplications and roots."""
    if isinstance(exponent, Index):
        return pointwise(build, _general_power, x, exponent)
    dtype = compute_dtype(common_dtype(x, exponent))
    return build.map(build.shape, build.dtype, lambda *ranks: _power(x.at(*ranks).to(dtype), exponent))


@lowers(aten.pow.Scalar)
def pow_of_scalar(build: Builder, base: Index | float, exponent: Array) -> Array:
    """Power of a constant."""
    return pointwise(build, _general_power, base, exponent)


@lowers(aten.pow.Tensor_Tensor)
def pow_tensor(build: Builder, base: Array, exponent: Array) -> Array:
    """Power."""
    return pointwise(build, _general_power, base, exponent)


def _power(x: Scalar, exponent: float) -> Scalar:
    if x.dtype.is_float and exponent == 0.5:
        return sqrt(x)
    if x.dtype.is_float and exponent == -0.5:
        return call("rsqrt", x)
    if not math.isfinite(exponent) or exponent != int(exponent) or (x.dtype.is_float and abs(exponent) > LARGEST_UNROLLED_POWER):
        return call("pow", x, float(exponent))
    if exponent < 0:
        return call("reciprocal", _power(x, -exponent)) if x.dtype.is_float else _general_power(x, literal(int(exponent), x.dtype))
    return _repeated_square(x, int(exponent))


def _repeated_square(x: Scalar, exponent: int) -> Scalar:
    if exponent < 2:
        return x if exponent else literal(1, x.dtype)
    half = _repeated_square(x, exponent // 2)
    return half * half * x if exponent % 2 else half * half


def _general_power(x: Scalar, exponent: Scalar) -> Scalar:
    """Pow; of integers, a negative exponent gives the truncated result."""
    if x.dtype.is_float or not x.dtype.signed:
        return call("pow", x, exponent)
    odd = (exponent & 1).equals(1)
    minus_one = literal(-1, x.dtype)
    inverse = select(x.equals(1) | (x.equals(-1) & ~odd), literal(1, x.dtype), select(x.equals(-1), minus_one, 0))
    return select(exponent < 0, inverse, call("pow", x, maximum(exponent, 0)))


@lowers(aten.neg.default, aten._neg_view.default)
def neg(build: Builder, x: Array) -> Array:
    """Negation."""
    return pointwise(build, lambda x: -x, x)


@lowers(aten.abs.default)
def abs_(build: Builder, x: Array) -> Array:
    """Absolute value."""
    return pointwise(build, absolute, x)


@lowers(aten.sign.default, aten.sgn.default)
def sign(build: Builder, x: Array) -> Array:
    """Sign: -1, 0 or 1; 0 for NaN, as in torch."""

    def element(x: Scalar) -> Scalar:
        if x.dtype.is_float:
            return select(x > 0.0, literal(1.0, x.dtype), select(x < 0.0, literal(-1.0, x.dtype), 0.0))
        return x if x.dtype == boolean else call("sign", x)

    return pointwise(build, element, x)


@lowers(aten.frac.default)
def frac(build: Builder, x: Array) -> Array:
    """What is left of x without its integer part."""
    return pointwise(build, lambda x: x - call("trunc", x), x)


@lowers(aten.round.decimals)
def round_decimals(build: Builder, x: Array, *, decimals: int) -> Array:
    """Round to a number of decimals, which may be negative."""
    scale = 10.0 ** abs(decimals)

    def element(x: Scalar) -> Scalar:
        if not x.dtype.is_float:
            return x
        return call("round", x * scale) / scale if decimals >= 0 else call("round", x / scale) * scale

    return pointwise(build, element, x)


@lowers(aten.atan2.default)
def atan2(build: Builder, a: Array, b: Array) -> Array:
    """Angle of the point (b, a)."""
    return pointwise(build, lambda y, x: call("atan2", y, x), a, b, float_result=True)


@lowers(aten.copysign.Tensor, aten.copysign.Scalar)
def copysign_(build: Builder, a: Array, b: Operand) -> Array:
    """Magnitude of a with the sign of b."""
    return pointwise(build, copysign, a, b, float_result=True)


@lowers(aten.hypot.default)
def hypot(build: Builder, a: Array, b: Array) -> Array:
    """Length of the vector (a, b)."""
    return pointwise(build, lambda x, y: call("hypot", x, y), a, b)


@lowers(aten.nextafter.default)
def nextafter(build: Builder, a: Array, b: Array) -> Array:
    """The next float after a in the direction of b."""
    return pointwise(build, lambda x, y: call("nextafter", x, y), a, b)


@lowers(aten.logaddexp.default)
def logaddexp(build: Builder, a: Array, b: Array) -> Array:
    """log(exp(a) + exp(b)), without overflow."""
    return pointwise(build, lambda x, y: _log_of_sum(x, y, 1.0), a, b)


@lowers(aten.logaddexp2.default)
def logaddexp2(build: Builder, a: Array, b: Array) -> Array:
    """log2(2**a + 2**b), without overflow."""
    return pointwise(build, lambda x, y: _log_of_sum(x, y, math.log(2.0)), a, b)


def _log_of_sum(x: Scalar, y: Scalar, scale: float) -> Scalar:
    gap = _product(-absolute(x - y), scale)
    tail = log1p(exp(gap)) if scale == 1.0 else log1p(exp(gap)) / scale
    return select(is_inf(x) & x.equals(y), x, maximum(x, y) + tail)


@lowers(aten.logit.default)
def logit(build: Builder, x: Array, eps: float | None = None) -> Array:
    """log(x / (1 - x)), with x first clamped to [eps, 1 - eps]."""

    def element(x: Scalar) -> Scalar:
        inside = x if eps is None else minimum(maximum(x, eps), 1.0 - eps)
        return log(inside / (1.0 - inside))

    return pointwise(build, element, x, float_result=True)


@lowers(aten.nan_to_num.default)
def nan_to_num(
    build: Builder, x: Array, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """Replace NaN and infinities; by default with 0 and the largest and smallest finite numbers of the type."""

    def element(x_: Scalar) -> Scalar:
        if not x_.dtype.is_float:
            return x_
        limits = torch.finfo(TORCH_DTYPES[x.dtype])
        high = limits.max if posinf is None else posinf
        low = limits.min if neginf is None else neginf
        finite = select(is_inf(x_), select(x_ > 0.0, high, literal(low, x_.dtype)), x_)
        return select(is_nan(x_), 0.0 if nan is None else nan, finite)

    return pointwise(build, element, x)
