"""Arithmetic and elementary functions of complex numbers, in real and imaginary parts as C99 and PyTorch compute them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.errors import Unsupported
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.pairs import Complex, Pairs, Value, lowers_pairs, map_complex, map_to_real
from tcomp.lowerings.pointwise import LARGEST_UNROLLED_POWER
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
    select,
    sqrt,
)
from tcomp.lowerings.table import LOWERINGS
from tcomp.torch_types import PARTS

aten = torch.ops.aten

LARGEST_HYPERBOLIC = 20.0
"""From here on tanh differs from its limit by less than f64 can tell, while squares of sinh are far from overflow."""


def multiply(x: Complex, y: Complex) -> Complex:
    """The product x * y."""
    (a, b), (c, d) = x, y
    return a * c - b * d, a * d + b * c


def divide(x: Complex, y: Complex) -> Complex:
    """The quotient x / y, scaled by the larger part of y so that no square overflows; by zero, that of each part."""
    (a, b), (c, d) = x, y
    scale = maximum(absolute(c), absolute(d))
    is_zero = scale.equals(0.0)
    c, d = c / scale, d / scale
    below = (c * c + d * d) * scale
    return select(is_zero, a / scale, (a * c + b * d) / below), select(is_zero, b / scale, (b * c - a * d) / below)


def magnitude(x: Complex) -> Scalar:
    """The absolute value."""
    return call("hypot", *x)


def angle_of(x: Complex) -> Scalar:
    """The angle, between -pi and pi."""
    real, imaginary = x
    return call("atan2", imaginary, real)


def logarithm(x: Complex) -> Complex:
    """The natural logarithm; near magnitude 1 of what is left of the square, which the magnitude itself has rounded away."""
    large, small = (choose(absolute(x[0]), absolute(x[1])) for choose in (maximum, minimum))
    size = magnitude(x)
    near = log1p((large - 1.0) * (large + 1.0) + small * small) * 0.5
    return select((size > 0.5) & (size < 2.0), near, log(size)), angle_of(x)


def exponential(x: Complex) -> Complex:
    """The exponential."""
    size = exp(x[0])
    return size * call("cos", x[1]), size * call("sin", x[1])


def square_root(x: Complex) -> Complex:
    """The square root of nonnegative real part, without cancellation."""
    a, b = x
    size = sqrt(absolute(a) * 0.5 + magnitude(x) * 0.5)
    other = select(size.equals(0.0), b, b / (size * 2.0))
    is_right = a >= 0.0
    real, imaginary = select(is_right, size, absolute(other)), select(is_right, other, copysign(size, b))
    return select(is_inf(b), absolute(b), real), select(is_inf(b), b, imaginary)


def sine(x: Complex) -> Complex:
    """The sine."""
    a, b = x
    return call("sin", a) * call("cosh", b), call("cos", a) * call("sinh", b)


def cosine(x: Complex) -> Complex:
    """The cosine."""
    a, b = x
    return call("cos", a) * call("cosh", b), -(call("sin", a) * call("sinh", b))


def hyperbolic_sine(x: Complex) -> Complex:
    """The hyperbolic sine."""
    a, b = x
    return call("sinh", a) * call("cos", b), call("cosh", a) * call("sin", b)


def hyperbolic_cosine(x: Complex) -> Complex:
    """The hyperbolic cosine."""
    a, b = x
    return call("cosh", a) * call("cos", b), call("sinh", a) * call("sin", b)


def hyperbolic_tangent(x: Complex) -> Complex:
    """The hyperbolic tangent, by the limit where squares would overflow."""
    a, b = x
    size = absolute(a)
    is_large = size > LARGEST_HYPERBOLIC
    inside = select(is_large, literal(0.0, a.dtype), a)
    sinh, cosh, sin, cos = call("sinh", inside), call("cosh", inside), call("sin", b), call("cos", b)
    below = sinh * sinh + cos * cos
    limit = sin * cos * exp(size * -2.0) * 4.0
    return select(is_large, copysign(literal(1.0, a.dtype), a), sinh * cosh / below), select(is_large, limit, sin * cos / below)


def tangent(x: Complex) -> Complex:
    """The tangent: -i tanh(i x)."""
    real, imaginary = hyperbolic_tangent((-x[1], x[0]))
    return imaginary, -real


def reciprocal(x: Complex) -> Complex:
    """The inverse."""
    return divide(_one(x), x)


def sigmoid(x: Complex) -> Complex:
    """1 / (1 + exp(-x))."""
    real, imaginary = exponential((-x[0], -x[1]))
    return reciprocal((real + 1.0, imaginary))


def direction(x: Complex) -> Complex:
    """The number on the unit circle; 0 of 0."""
    size = magnitude(x)
    is_zero = size.equals(0.0)
    below = select(is_zero, literal(1.0, size.dtype), size)
    return x[0] / below, x[1] / below


def power(x: Complex, y: Complex) -> Complex:
    """The power: by logarithm and exponential, of 0 either 0 or, to the power of 0, 1."""
    size, angle = magnitude(x), angle_of(x)
    is_zero = size.equals(0.0)
    known = select(is_zero, literal(1.0, size.dtype), size)
    a, b = y
    result = call("pow", known, a) * exp(-(b * angle))
    turn = b * log(known) + a * angle
    of_zero = select(a.equals(0.0) & b.equals(0.0), literal(1.0, size.dtype), 0.0)
    return select(is_zero, of_zero, result * call("cos", turn)), select(is_zero, 0.0, result * call("sin", turn))


def integer_power(x: Complex, exponent: int) -> Complex:
    """A power by repeated squares."""
    if exponent < 0:
        return reciprocal(integer_power(x, -exponent))
    if exponent < 2:
        return x if exponent else _one(x)
    half = integer_power(x, exponent // 2)
    square = multiply(half, half)
    return multiply(square, x) if exponent % 2 else square


def scaled(x: Complex, factor: Value) -> Complex:
    """The product with a number; with 1 as well, which is what makes eager's sums with infinities NaN."""
    assert isinstance(factor, (int, float, complex)), "factors are numbers"
    number = complex(factor)
    return multiply(x, (literal(number.real, x[0].dtype), literal(number.imag, x[0].dtype)))


def conjugate(x: Complex) -> Complex:
    """The number with the other sign of the imaginary part."""
    return x[0], -x[1]


def negative(x: Complex) -> Complex:
    """The number with both signs changed."""
    return -x[0], -x[1]


def plus(x: Complex, y: Complex) -> Complex:
    """The sum."""
    return x[0] + y[0], x[1] + y[1]


def _one(x: Complex) -> Complex:
    return literal(1.0, x[0].dtype), literal(0.0, x[0].dtype)


def _logarithm_to(base: float) -> Callable[[Complex], Complex]:
    factor = 1.0 / math.log(base)

    def function(x: Complex) -> Complex:
        real, imaginary = logarithm(x)
        return real * factor, imaginary * factor

    return function


_FUNCTIONS: dict[object, Callable[[Complex], Complex]] = {
    aten._conj.default: conjugate,
    aten._conj_physical.default: conjugate,
    aten.conj_physical.default: conjugate,
    aten.cos.default: cosine,
    aten.cosh.default: hyperbolic_cosine,
    aten.exp.default: exponential,
    aten.log.default: logarithm,
    aten.log10.default: _logarithm_to(10.0),
    aten.log2.default: _logarithm_to(2.0),
    aten.neg.default: negative,
    aten._neg_view.default: negative,
    aten.reciprocal.default: reciprocal,
    aten.rsqrt.default: lambda x: reciprocal(square_root(x)),
    aten.sgn.default: direction,
    aten.sigmoid.default: sigmoid,
    aten.sin.default: sine,
    aten.sinh.default: hyperbolic_sine,
    aten.sqrt.default: square_root,
    aten.square.default: lambda x: multiply(x, x),
    aten.tan.default: tangent,
    aten.tanh.default: hyperbolic_tangent,
}


def _complex_function(function: Callable[[Complex], Complex]) -> Callable[[Builder, Value], Array]:
    def lower(build: Builder, x: Value) -> Array:
        return map_complex(build, function, x)

    return lower


for _operator, _function in _FUNCTIONS.items():
    lowers_pairs(_operator)(_complex_function(_function))  # type: ignore[arg-type]  # operators are overloads


@lowers_pairs(aten.add.Tensor, aten.add.Scalar)
def add(build: Builder, a: Value, b: Value, alpha: Value = 1) -> Array:
    """Sum: a + alpha * b."""
    return map_complex(build, lambda x, y: plus(x, scaled(y, alpha)), a, b)


@lowers_pairs(aten.sub.Tensor, aten.sub.Scalar)
def sub(build: Builder, a: Value, b: Value, alpha: Value = 1) -> Array:
    """Difference: a - alpha * b."""
    return map_complex(build, lambda x, y: plus(x, negative(scaled(y, alpha))), a, b)


@lowers_pairs(aten.rsub.Tensor, aten.rsub.Scalar)
def rsub(build: Builder, a: Value, b: Value, alpha: Value = 1) -> Array:
    """Difference: b - alpha * a."""
    return sub(build, b, a, alpha)


@lowers_pairs(aten.mul.Tensor, aten.mul.Scalar)
def mul(build: Builder, a: Value, b: Value) -> Array:
    """Product."""
    return map_complex(build, multiply, a, b)


@lowers_pairs(aten.div.Tensor, aten.div.Scalar, aten.true_divide.Tensor)
def div(build: Builder, a: Value, b: Value) -> Array:
    """Quotient."""
    return map_complex(build, divide, a, b)


@lowers_pairs(aten.addcmul.default)
def addcmul(build: Builder, a: Array, b: Array, c: Array, *, value: Value = 1) -> Array:
    """Fused product: a + value * b * c."""
    return map_complex(build, lambda x, y, z: plus(x, multiply(scaled(y, value), z)), a, b, c)


@lowers_pairs(aten.addcdiv.default)
def addcdiv(build: Builder, a: Array, b: Array, c: Array, *, value: Value = 1) -> Array:
    """Fused quotient: a + value * b / c."""
    return map_complex(build, lambda x, y, z: plus(x, divide(scaled(y, value), z)), a, b, c)


@lowers_pairs(aten.pow.Tensor_Scalar)
def pow_scalar(build: Builder, x: Value, exponent: Value) -> Array:
    """Power with a constant exponent: small integers and halves become products and roots."""
    if isinstance(exponent, (int, float)):
        if exponent in (0.5, -0.5):
            return map_complex(build, lambda z: square_root(z) if exponent > 0 else reciprocal(square_root(z)), x)
        if abs(exponent) <= LARGEST_UNROLLED_POWER and exponent == int(exponent):
            return map_complex(build, lambda z: integer_power(z, int(exponent)), x)
    return map_complex(build, power, x, exponent)


@lowers_pairs(aten.pow.Tensor_Tensor, aten.pow.Scalar)
def pow_tensor(build: Builder, base: Value, exponent: Value) -> Array:
    """Power."""
    return map_complex(build, power, base, exponent)


@lowers_pairs(aten.polar.default)
def polar(build: Builder, size: Array, angle: Array) -> Array:
    """Complex numbers of magnitude and angle."""
    return map_complex(build, lambda r, t: (r[0] * call("cos", t[0]), r[0] * call("sin", t[0])), size, angle)


@lowers_pairs(aten.abs.default)
def abs_(build: Builder, x: Pairs) -> Array:
    """Magnitude."""
    return map_to_real(build, magnitude, x, dtype=compute_dtype(x.dtype))


@lowers_pairs(aten.angle.default)
def angle(build: Builder, x: Pairs) -> Array:
    """Angle."""
    return map_to_real(build, angle_of, x, dtype=compute_dtype(x.dtype))


@lowers_pairs(aten.linalg_vector_norm.default)
def vector_norm(build: Builder, x: Pairs, *arguments: object, **keywords: object) -> Array:
    """The norm of the magnitudes."""
    sizes = build.map(x.shape, x.dtype, lambda *ranks: call("hypot", x.real.at(*ranks), x.imaginary.at(*ranks)), hint="size")
    return LOWERINGS[aten.linalg_vector_norm.default](build, sizes, *arguments, **keywords)  # type: ignore[no-any-return]


@lowers_pairs(aten.isnan.default)
def isnan(build: Builder, x: Pairs) -> Array:
    """Whether either part is NaN."""
    return map_to_real(build, lambda z: is_nan(z[0]) | is_nan(z[1]), x, dtype=x.dtype)


@lowers_pairs(aten.isinf.default)
def isinf(build: Builder, x: Pairs) -> Array:
    """Whether either part is an infinity."""
    return map_to_real(build, lambda z: is_inf(z[0]) | is_inf(z[1]), x, dtype=x.dtype)


@lowers_pairs(aten.isfinite.default)
def isfinite(build: Builder, x: Pairs) -> Array:
    """Whether both parts are numbers and no infinities."""
    return map_to_real(build, lambda z: ~(is_nan(z[0]) | is_inf(z[0]) | is_nan(z[1]) | is_inf(z[1])), x, dtype=x.dtype)


def _common_part(build: Builder) -> DType:
    """The type of the parts of what the node's operands are converted to."""
    assert build.node is not None
    values: list[Any] = [a.meta["val"] if isinstance(a, torch.fx.Node) else a for a in build.node.args[:2]]
    common = torch.result_type(values[0], values[1])
    if common not in PARTS:
        raise Unsupported(f"a comparison in {common}", help="convert to a complex type first")
    return PARTS[common]


@lowers_pairs(aten.eq.Tensor, aten.eq.Scalar)
def eq(build: Builder, a: Value, b: Value) -> Array:
    """Whether both parts are equal."""
    return map_to_real(build, lambda x, y: x[0].equals(y[0]) & x[1].equals(y[1]), a, b, dtype=_common_part(build))


@lowers_pairs(aten.ne.Tensor, aten.ne.Scalar)
def ne(build: Builder, a: Value, b: Value) -> Array:
    """Whether a part differs."""
    return map_to_real(build, lambda x, y: x[0].differs(y[0]) | x[1].differs(y[1]), a, b, dtype=_common_part(build))
