"""The scalar operators, one table: name, arity, types, what numpy computes them with, and their sign where they have one.

Evaluator, verifier, text and both code generators loop over this table; nothing else knows an operator by name except where its
algebra matters. Floats follow IEEE 754. `floordiv` and `mod` round toward minus infinity (Python), `truncdiv` and `fmod` toward
zero (C); integer division by zero is undefined, and so is a shift by less than 0 or by as many bits as there are. An integer to a
negative power rounds toward zero. `minimum` and `maximum` return NaN if either argument is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy


@dataclass(frozen=True, slots=True)
class Operator:
    """One scalar operator. `infix` is its spelling in text and C, or "" for a function call."""

    name: str
    arity: int
    types: str
    numpy: Callable[..., Any]
    infix: str = ""
    precedence: int = 0
    result: Literal["same", "bool"] = "same"
    cost: int = 1
    """Arithmetic cost in units of one vector instruction, for schedules and reports."""
    commutative: bool = False


def _vectorized(function: Callable[..., float]) -> Callable[..., Any]:
    def apply(*arguments: Any) -> Any:
        return numpy.vectorize(function, otypes=[numpy.float64])(*arguments)

    return apply


def _gamma_log(x: float) -> float:
    if math.isnan(x) or x == -math.inf:
        return math.nan if math.isnan(x) else math.inf
    if x <= 0 and x == math.floor(x):
        return math.inf
    return math.lgamma(x)


def _digamma(x: float) -> float:
    """Recurrence up to 10, then the asymptotic series (Abramowitz and Stegun 6.3.18)."""
    if x == 0:
        return -math.copysign(math.inf, x)
    if x == -math.inf:
        return math.nan
    if x < 0:
        if x == math.floor(x):
            return math.nan
        return _digamma(1 - x) - math.pi / math.tan(math.pi * x)
    total = 0.0
    while x < 10:
        total -= 1 / x
        x += 1
    y = 1 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return total + math.log(x) - 0.5 / x - series


def _erfinv(y: float) -> float:
    """Newton refinement of Winitzki's approximation."""
    if not -1 <= y <= 1:
        return math.nan
    if abs(y) == 1:
        return math.copysign(math.inf, y)
    a = 0.147
    logarithm = math.log1p(-y * y)
    t = 2 / (math.pi * a) + logarithm / 2
    x = math.copysign(math.sqrt(max(math.sqrt(t * t - logarithm / a) - t, 0.0)), y)
    for _ in range(4):
        error = math.erf(x) - y if abs(y) < 0.5 else math.copysign(1.0, y) * (1 - abs(y) - math.erfc(abs(x)))
        x -= error / (2 / math.sqrt(math.pi) * math.exp(-x * x) + 1e-300)
    return x


def _sigmoid(x: Any) -> Any:
    e = numpy.exp(-numpy.abs(x))
    return numpy.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _truncated_division(a: Any, b: Any) -> Any:
    quotient = numpy.floor_divide(numpy.abs(a), numpy.abs(b))
    return numpy.where((a < 0) != (b < 0), -quotient, quotient)


def _power(a: Any, b: Any) -> Any:
    """Integers to a negative power round toward zero: 0, but 1 or -1 for a base of 1 or -1."""
    if numpy.asarray(a).dtype.kind not in "iu":
        return numpy.power(a, b)
    inverse = numpy.where(numpy.abs(a) == 1, numpy.where(b % 2 == 0, 1, a), 0)
    return numpy.where(b < 0, inverse, numpy.power(a, numpy.maximum(b, 0)))


def _negative(x: Any) -> Any:
    return -x


_ROWS = [
    Operator("add", 2, "number", numpy.add, "+", 6, commutative=True),
    Operator("sub", 2, "number", numpy.subtract, "-", 6),
    Operator("mul", 2, "number", numpy.multiply, "*", 7, commutative=True),
    Operator("div", 2, "float", numpy.divide, "/", 7, cost=6),
    Operator("floordiv", 2, "int", numpy.floor_divide, "", cost=20),
    Operator("mod", 2, "number", numpy.mod, "", cost=20),
    Operator("truncdiv", 2, "int", _truncated_division, "", cost=20),
    Operator("fmod", 2, "number", numpy.fmod, "", cost=20),
    Operator("neg", 1, "number", _negative, "-", 8),
    Operator("abs", 1, "number", numpy.abs),
    Operator("sign", 1, "number", numpy.sign, cost=2),
    Operator("minimum", 2, "any", numpy.minimum, cost=2, commutative=True),
    Operator("maximum", 2, "any", numpy.maximum, cost=2, commutative=True),
    Operator("eq", 2, "any", numpy.equal, "==", 4, "bool", commutative=True),
    Operator("ne", 2, "any", numpy.not_equal, "!=", 4, "bool", commutative=True),
    Operator("lt", 2, "any", numpy.less, "<", 5, "bool"),
    Operator("le", 2, "any", numpy.less_equal, "<=", 5, "bool"),
    Operator("gt", 2, "any", numpy.greater, ">", 5, "bool"),
    Operator("ge", 2, "any", numpy.greater_equal, ">=", 5, "bool"),
    Operator("and", 2, "bits", numpy.bitwise_and, "&", 3, commutative=True),
    Operator("xor", 2, "bits", numpy.bitwise_xor, "^", 2, commutative=True),
    Operator("or", 2, "bits", numpy.bitwise_or, "|", 1, commutative=True),
    Operator("not", 1, "bits", numpy.invert, "!", 8),
    Operator("shl", 2, "int", numpy.left_shift),
    Operator("shr", 2, "int", numpy.right_shift),
    Operator("select", 3, "any", numpy.where),
    Operator("isnan", 1, "float", numpy.isnan, result="bool"),
    Operator("isinf", 1, "float", numpy.isinf, result="bool"),
    Operator("exp", 1, "float", numpy.exp, cost=12),
    Operator("exp2", 1, "float", numpy.exp2, cost=12),
    Operator("expm1", 1, "float", numpy.expm1, cost=16),
    Operator("log", 1, "float", numpy.log, cost=16),
    Operator("log2", 1, "float", numpy.log2, cost=16),
    Operator("log10", 1, "float", numpy.log10, cost=16),
    Operator("log1p", 1, "float", numpy.log1p, cost=18),
    Operator("sqrt", 1, "float", numpy.sqrt, cost=6),
    Operator("rsqrt", 1, "float", lambda x: 1 / numpy.sqrt(x), cost=10),
    Operator("reciprocal", 1, "float", lambda x: 1 / x, cost=6),
    Operator("sin", 1, "float", numpy.sin, cost=20),
    Operator("cos", 1, "float", numpy.cos, cost=20),
    Operator("tan", 1, "float", numpy.tan, cost=30),
    Operator("asin", 1, "float", numpy.arcsin, cost=30),
    Operator("acos", 1, "float", numpy.arccos, cost=30),
    Operator("atan", 1, "float", numpy.arctan, cost=25),
    Operator("atan2", 2, "float", numpy.arctan2, cost=35),
    Operator("sinh", 1, "float", numpy.sinh, cost=25),
    Operator("cosh", 1, "float", numpy.cosh, cost=25),
    Operator("tanh", 1, "float", numpy.tanh, cost=18),
    Operator("asinh", 1, "float", numpy.arcsinh, cost=35),
    Operator("acosh", 1, "float", numpy.arccosh, cost=35),
    Operator("atanh", 1, "float", numpy.arctanh, cost=35),
    Operator("sigmoid", 1, "float", _sigmoid, cost=18),
    Operator("erf", 1, "float", _vectorized(math.erf), cost=22),
    Operator("erfc", 1, "float", _vectorized(math.erfc), cost=35),
    Operator("erfinv", 1, "float", _vectorized(_erfinv), cost=35),
    Operator("lgamma", 1, "float", _vectorized(_gamma_log), cost=60),
    Operator("digamma", 1, "float", _vectorized(_digamma), cost=60),
    Operator("pow", 2, "number", _power, cost=40),
    Operator("floor", 1, "float", numpy.floor),
    Operator("ceil", 1, "float", numpy.ceil),
    Operator("trunc", 1, "float", numpy.trunc),
    Operator("round", 1, "float", numpy.rint),
    Operator("copysign", 2, "float", numpy.copysign, cost=2),
    Operator("hypot", 2, "float", numpy.hypot, cost=10),
    Operator("nextafter", 2, "float", numpy.nextafter, cost=20),
]

OPERATORS: dict[str, Operator] = {row.name: row for row in _ROWS}

TYPE_KINDS: dict[str, tuple[str, ...]] = {
    "float": ("float",),
    "int": ("int",),
    "bool": ("bool",),
    "bits": ("int", "bool"),
    "number": ("float", "int"),
    "any": ("float", "int", "bool"),
}
