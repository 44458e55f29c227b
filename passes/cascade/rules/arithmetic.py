"""Rules of arithmetic: neutral elements, signs, powers, literals."""

from __future__ import annotations

import math

from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.evaluate.arrays import Array
from tcomp.ir.evaluate.expressions import Environment, evaluate_expression
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Number, apply, constant
from tcomp.ir.operators import OPERATORS
from tcomp.passes.cascade.rules.rule import CAST, Context, Rule, arguments_of, is_literal, orders


def fold_literals(node: Expr, context: Context) -> Expr | None:
    """2.0 * 3.0 => 6.0.

    i8(2.5) => 2:i8
    1 < 2 => true

    Unless it rounds, or its meaning is undefined: integer division by zero, a shift or a conversion out of range.
    """
    rounded = _fold(node, context, float64=False)
    return rounded if rounded == _fold(node, context, float64=True) else None


def fold_unrounded(node: Expr, context: Context) -> Expr | None:
    """sqrt(1.5) => 1.224744871391589.

    The literal is rounded to its type where it is used. Not where the type overflows.
    """
    if not context.dtype(node).is_float:
        return None
    rounded = _fold(node, context, float64=False)
    if not isinstance(rounded, Constant) or not math.isfinite(rounded.value):
        return None
    return _fold(node, context, float64=True)


def _fold(node: Expr, context: Context, float64: bool) -> Expr | None:
    arguments = node.arguments if isinstance(node, Apply) else (node.argument,) if isinstance(node, Cast) else ()
    values = [a.value for a in arguments if isinstance(a, Constant)]
    if len(values) != len(arguments) or not _is_defined(node, values, context):
        return None
    value = evaluate_expression(node, Environment({}, {}, _read_nothing, float64)).item()
    return constant(value, context.dtype(node))


def _is_defined(node: Expr, values: list[Number], context: Context) -> bool:
    dtype = context.dtype(node)
    if isinstance(node, Cast):
        if dtype.kind != "int" or isinstance(values[0], int):
            return True
        lowest = -(2.0 ** (dtype.bits - 1)) if dtype.signed else 0.0
        return math.isfinite(values[0]) and lowest <= math.trunc(values[0]) < lowest + 2.0**dtype.bits
    if not dtype.is_int or not isinstance(node, Apply):
        return True
    match node.operator:
        case "floordiv" | "mod" | "truncdiv" | "fmod":
            return values[1] != 0
        case "shl" | "shr":
            return 0 <= values[1] < dtype.bits
        case "pow":
            return values[1] >= 0
        case _:
            return True


def _read_nothing(tensor: str, index: tuple[Array, ...], outside: Number | None) -> Array:
    raise AssertionError("literals read no tensor")


def add_zero(node: Expr, context: Context) -> Expr | None:
    """X[i] + -0.0 => X[i].

    N[i] + 0 => N[i]

    Not of 0.0: -0.0 + 0.0 is 0.0.
    """
    x, zero = arguments_of(node)
    return x if is_literal(zero, -0.0 if context.dtype(x).is_float else 0) else None


def subtract_zero(node: Expr, context: Context) -> Expr | None:
    """X[i] - 0.0 => X[i].

    N[i] - 0 => N[i]
    """
    x, zero = arguments_of(node)
    return x if is_literal(zero, 0) else None


def subtract_from_zero(node: Expr, context: Context) -> Expr | None:
    """-0.0 - X[i] => -X[i].

    0 - N[i] => -N[i]

    Not from 0.0: 0.0 - 0.0 is 0.0.
    """
    zero, x = arguments_of(node)
    return apply("neg", x) if is_literal(zero, -0.0 if context.dtype(x).is_float else 0) else None


def subtract_self(node: Expr, context: Context) -> Expr | None:
    """N[i] - N[i] => 0 if integer."""
    x, y = arguments_of(node)
    dtype = context.dtype(x)
    return constant(0, dtype) if dtype.is_int and x == y else None


def add_negative(node: Expr, context: Context) -> Expr | None:
    """X[i] + -Y[i] => X[i] - Y[i]."""
    match arguments_of(node):
        case x, Apply("neg", (y,)):
            return apply("sub", x, y)
    return None


def subtract_negative(node: Expr, context: Context) -> Expr | None:
    """X[i] - -Y[i] => X[i] + Y[i]."""
    match arguments_of(node):
        case x, Apply("neg", (y,)):
            return apply("add", x, y)
    return None


def negate_twice(node: Expr, context: Context) -> Expr | None:
    """--X[i] => X[i]."""
    match arguments_of(node):
        case (Apply("neg", (x,)),):
            return x
    return None


def add_literals(node: Expr, context: Context) -> Expr | None:
    """(N[i] + 2) + 3 => N[i] + 5 if integer."""
    return _join_literals(node, "add", context)


def multiply_literals(node: Expr, context: Context) -> Expr | None:
    """(N[i] * 2) * 3 => N[i] * 6 if integer."""
    return _join_literals(node, "mul", context)


def _join_literals(node: Expr, operator: str, context: Context) -> Expr | None:
    inner, outer = arguments_of(node)
    if not isinstance(outer, Constant) or not outer.dtype.is_int:
        return None
    for x, other in orders(inner, operator):
        joined = fold_literals(apply(operator, other, outer), context) if isinstance(other, Constant) else None
        if joined is not None:
            return apply(operator, x, joined)
    return None


def multiply_by_one(node: Expr, context: Context) -> Expr | None:
    """X[i] * 1.0 => X[i].

    N[i] * 1 => N[i]
    """
    x, one = arguments_of(node)
    return x if is_literal(one, 1) else None


def multiply_by_minus_one(node: Expr, context: Context) -> Expr | None:
    """X[i] * -1.0 => -X[i].

    N[i] * -1 => -N[i]
    """
    x, one = arguments_of(node)
    return apply("neg", x) if is_literal(one, -1) else None


def multiply_by_zero(node: Expr, context: Context) -> Expr | None:
    """N[i] * 0 => 0 if integer."""
    _, zero = arguments_of(node)
    return zero if isinstance(zero, Constant) and zero.dtype.is_int and zero.value == 0 else None


def multiply_negatives(node: Expr, context: Context) -> Expr | None:
    """-X[i] * -Y[i] => X[i] * Y[i]."""
    match arguments_of(node):
        case Apply("neg", (x,)), Apply("neg", (y,)):
            return apply("mul", x, y)
    return None


def divide_by_one(node: Expr, context: Context) -> Expr | None:
    """X[i] / 1.0 => X[i].

    floordiv(N[i], 1) => N[i]
    truncdiv(N[i], 1) => N[i]
    """
    x, one = arguments_of(node)
    return x if is_literal(one, 1) else None


def divide_by_power_of_two(node: Expr, context: Context) -> Expr | None:
    """X[i] / 4.0 => X[i] * 0.25 if the divisor is a power of two and it and its inverse are normal numbers."""
    x, divisor = arguments_of(node)
    if not isinstance(divisor, Constant) or not math.isfinite(divisor.value):
        return None
    mantissa, exponent = math.frexp(abs(divisor.value))
    if mantissa != 0.5 or abs(exponent - 1) > _largest_exponent(divisor.dtype):
        return None
    return apply("mul", x, Constant(1.0 / divisor.value, divisor.dtype))


def _largest_exponent(dtype: DType) -> int:
    """How far from zero an exponent may be so that both 2**e and 2**-e are normal."""
    exponent_bits = dtype.bits - 1 - dtype.mantissa
    return int(2 ** (exponent_bits - 1)) - 2


def remainder_of_one(node: Expr, context: Context) -> Expr | None:
    """mod(N[i], 1) => 0 if integer."""
    _, one = arguments_of(node)
    return Constant(0, one.dtype) if isinstance(one, Constant) and one.dtype.is_int and one.value == 1 else None


def reciprocal_of_one(node: Expr, context: Context) -> Expr | None:
    """1.0 / X[i] => reciprocal(X[i])."""
    one, x = arguments_of(node)
    return apply("reciprocal", x) if is_literal(one, 1) else None


def absolute_of_sign(node: Expr, context: Context) -> Expr | None:
    """abs(-X[i]) => abs(X[i]).

    abs(abs(X[i])) => abs(X[i])
    """
    match arguments_of(node):
        case (Apply("neg" | "abs", (x,)),):
            return apply("abs", x)
    return None


def round_twice(node: Expr, context: Context) -> Expr | None:
    """floor(ceil(X[i])) => ceil(X[i])."""
    match arguments_of(node):
        case (Apply("floor" | "ceil" | "trunc" | "round", _) as whole,):
            return whole
    return None


def power_exactly(node: Expr, context: Context) -> Expr | None:
    """pow(X[i], 2.0) => X[i] * X[i].

    pow(X[i], 0.0) => 1.0
    pow(X[i], 1.0) => X[i]
    pow(X[i], -1.0) => reciprocal(X[i])
    pow(N[i], 3) => N[i] * N[i] * N[i]

    One rounding at most, as a correctly rounded `pow` has. Not 0.5: pow(-inf, 0.5) is inf and sqrt(-inf) is nan.
    """
    x, exponent = arguments_of(node)
    if not isinstance(exponent, Constant):
        return None
    if is_literal(exponent, 0.0, -0.0):
        return constant(1, exponent.dtype)
    if is_literal(exponent, 1):
        return x
    if is_literal(exponent, 2):
        return apply("mul", x, x)
    if exponent.dtype.is_float:
        return apply("reciprocal", x) if is_literal(exponent, -1) else None
    if is_literal(exponent, 3, 4):
        square = apply("mul", x, x)
        return apply("mul", square, x if exponent.value == 3 else square)
    return None


def power_by_products(node: Expr, context: Context) -> Expr | None:
    """pow(X[i], 3.0) => X[i] * X[i] * X[i].

    pow(X[i], 4.0) => X[i] * X[i] * (X[i] * X[i])
    """
    x, exponent = arguments_of(node)
    if not isinstance(exponent, Constant) or not exponent.dtype.is_float or compute_dtype(exponent.dtype) != exponent.dtype:
        return None
    square = apply("mul", x, x)
    if is_literal(exponent, 3):
        return apply("mul", square, x)
    return apply("mul", square, square) if is_literal(exponent, 4) else None


ARITHMETIC = (
    Rule((*OPERATORS, CAST), fold_unrounded, exact=False),
    Rule((*OPERATORS, CAST), fold_literals),
    Rule(("add",), add_zero),
    Rule(("add",), add_negative),
    Rule(("add",), add_literals),
    Rule(("sub",), subtract_zero),
    Rule(("sub",), subtract_from_zero),
    Rule(("sub",), subtract_self),
    Rule(("sub",), subtract_negative),
    Rule(("neg",), negate_twice),
    Rule(("mul",), multiply_by_one),
    Rule(("mul",), multiply_by_minus_one),
    Rule(("mul",), multiply_by_zero),
    Rule(("mul",), multiply_negatives),
    Rule(("mul",), multiply_literals),
    Rule(("div", "floordiv", "truncdiv"), divide_by_one),
    Rule(("div",), divide_by_power_of_two),
    Rule(("div",), reciprocal_of_one),
    Rule(("mod",), remainder_of_one),
    Rule(("abs",), absolute_of_sign),
    Rule(("floor", "ceil", "trunc", "round"), round_twice),
    Rule(("pow",), power_exactly),
    Rule(("pow",), power_by_products, exact=False),
)
