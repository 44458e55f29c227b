"""Scalar expressions with Python's operators: an expression of the IR together with its element type.

Lowerings write `x * sigmoid(x)`; a Python number beside a scalar becomes a constant of its type. Nothing is promoted: types that
differ are a mistake of the lowering.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from tcomp.ir.dtypes import DType, boolean, i64
from tcomp.ir.expressions import Cast, Constant, Expr, Index, Number, Ordinal, apply, constant
from tcomp.ir.operators import OPERATORS
from tcomp.ir.walk import value_index

Like: TypeAlias = "Scalar | Number"


@dataclass(frozen=True, slots=True)
class Scalar:
    """An expression and its element type."""

    expression: Expr
    dtype: DType

    def to(self, dtype: DType) -> Scalar:
        """Convert to another element type."""
        if dtype == self.dtype:
            return self
        if isinstance(self.expression, Constant) and (self.dtype.kind == dtype.kind == "int" or self.dtype == boolean):
            return Scalar(constant(_wrap(self.expression.value, dtype), dtype), dtype)
        return Scalar(Cast(dtype, self.expression), dtype)

    def as_index(self) -> Index:
        """The value as an index of a load or store."""
        assert self.dtype.is_int
        return value_index(self.expression)

    def __add__(self, other: Like) -> Scalar:
        return call("add", self, other)

    def __radd__(self, other: Like) -> Scalar:
        return call("add", other, self)

    def __sub__(self, other: Like) -> Scalar:
        return call("sub", self, other)

    def __rsub__(self, other: Like) -> Scalar:
        return call("sub", other, self)

    def __mul__(self, other: Like) -> Scalar:
        return call("mul", self, other)

    def __rmul__(self, other: Like) -> Scalar:
        return call("mul", other, self)

    def __truediv__(self, other: Like) -> Scalar:
        return call("div", self, other)

    def __rtruediv__(self, other: Like) -> Scalar:
        return call("div", other, self)

    def __neg__(self) -> Scalar:
        return call("neg", self)

    def __and__(self, other: Like) -> Scalar:
        return call("and", self, other)

    def __or__(self, other: Like) -> Scalar:
        return call("or", self, other)

    def __xor__(self, other: Like) -> Scalar:
        return call("xor", self, other)

    def __invert__(self) -> Scalar:
        return call("not", self)

    def __lt__(self, other: Like) -> Scalar:
        return call("lt", self, other)

    def __le__(self, other: Like) -> Scalar:
        return call("le", self, other)

    def __gt__(self, other: Like) -> Scalar:
        return call("gt", self, other)

    def __ge__(self, other: Like) -> Scalar:
        return call("ge", self, other)

    def equals(self, other: Like) -> Scalar:
        """Elementwise ==, which Python keeps for the comparison of the expressions themselves."""
        return call("eq", self, other)

    def differs(self, other: Like) -> Scalar:
        """Elementwise !=."""
        return call("ne", self, other)


def _wrap(value: Number, dtype: DType) -> Number:
    if dtype.kind != "int":
        return value
    low = -(2 ** (dtype.bits - 1)) if dtype.signed else 0
    wrapped: int = (int(value) - low) % 2**dtype.bits + low
    return wrapped


def literal(value: Number, dtype: DType) -> Scalar:
    """A constant; an integer wraps into its type."""
    return Scalar(constant(_wrap(value, dtype), dtype), dtype)


def ordinal(index: Index, dtype: DType = i64) -> Scalar:
    """An index used as a value."""
    if index.is_constant:
        return literal(index.constant, dtype)
    return Scalar(Ordinal(index, dtype), dtype)


def call(operator: str, *arguments: Like) -> Scalar:
    """Apply an operator of the table to arguments of one type (a select's condition is bool)."""
    values = arguments[1:] if operator == "select" else arguments
    dtype = next(a.dtype for a in values if isinstance(a, Scalar))
    scalars = [a if isinstance(a, Scalar) else literal(a, dtype) for a in arguments]
    typed = scalars[1:] if operator == "select" else scalars
    assert all(s.dtype == dtype for s in typed), f"{operator} of {[s.dtype.name for s in typed]}"
    result = boolean if OPERATORS[operator].result == "bool" else dtype
    return Scalar(apply(operator, *(s.expression for s in scalars)), result)


def select(condition: Scalar, yes: Like, no: Like) -> Scalar:
    """`yes` where the condition holds, else `no`."""
    assert condition.dtype == boolean
    return call("select", condition, yes, no)


def minimum(a: Like, b: Like) -> Scalar:
    """The smaller of two numbers; NaN if either is."""
    return call("minimum", a, b)


def maximum(a: Like, b: Like) -> Scalar:
    """The larger of two numbers; NaN if either is."""
    return call("maximum", a, b)


def exp(x: Scalar) -> Scalar:
    """The exponential."""
    return call("exp", x)


def log(x: Scalar) -> Scalar:
    """The natural logarithm."""
    return call("log", x)


def log1p(x: Scalar) -> Scalar:
    """The natural logarithm of 1 + x."""
    return call("log1p", x)


def sqrt(x: Scalar) -> Scalar:
    """The square root."""
    return call("sqrt", x)


def tanh(x: Scalar) -> Scalar:
    """The hyperbolic tangent."""
    return call("tanh", x)


def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + exp(-x))."""
    return call("sigmoid", x)


def absolute(x: Scalar) -> Scalar:
    """The absolute value; that of an unsigned number or bool is itself."""
    return call("abs", x) if x.dtype.signed else x


def is_nan(x: Scalar) -> Scalar:
    """Whether x is NaN."""
    return call("isnan", x)


def is_inf(x: Scalar) -> Scalar:
    """Whether x is an infinity."""
    return call("isinf", x)


def copysign(x: Scalar, y: Scalar) -> Scalar:
    """The magnitude of x with the sign of y."""
    return call("copysign", x, y)
