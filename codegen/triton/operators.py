"""Scalar operators on Triton values: which are infix, which are built-in functions, and which are ours.

Narrow floats are widened to f32, and the result is rounded to them again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tcomp.codegen.triton.tree import Binary, Literal, Name, TExpression, Unary, call
from tcomp.codegen.triton.types import Value, convert, operand, settle
from tcomp.ir.dtypes import DType, boolean, compute_dtype, f32, i32
from tcomp.ir.expressions import Constant
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import OPERATORS

BUILTINS = {
    "exp": "tl.exp", "exp2": "tl.exp2", "log": "tl.log", "log2": "tl.log2", "sin": "tl.sin", "cos": "tl.cos", "rsqrt": "tl.rsqrt",
    "floor": "tl.floor", "ceil": "tl.ceil", "erf": "tl.erf", "abs": "tl.abs",
}  # fmt: skip
"""Operators that a function of Triton computes as we mean them."""

FUNCTIONS = {
    "sign": "sign", "trunc": "trunc", "round": "round_half_even", "copysign": "copy_sign", "sigmoid": "sigmoid", "log10": "log10",
    "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan", "atan2": "atan2", "sinh": "sinh", "cosh": "cosh", "asinh": "asinh",
    "acosh": "acosh", "atanh": "atanh", "erfc": "erfc", "erfinv": "erfinv", "lgamma": "lgamma", "digamma": "digamma", "pow": "power",
    "hypot": "hypot", "isnan": "is_nan", "mod": "float_remainder", "fmod": "float_modulus", "maximum": "maximum", "minimum": "minimum",
}  # fmt: skip
"""Operators on floats that are functions of the support files, for f32 and f64 alike."""

BY_WIDTH = {"expm1": "expm1", "log1p": "log1p", "tanh": "tanh", "nextafter": "next_after"}
"""Operators on floats that have one function for f64, and another for f32 whose name ends in `_single`."""

BOOLEAN = {"maximum": "|", "minimum": "&", "and": "&", "or": "|", "xor": "^"}
"""Operators on bools that join truths."""


def apply_operator(name: str, arguments: list[Value]) -> Value:
    """Apply an operator to values of one dtype."""
    row = OPERATORS[name]
    dtype = arguments[-1].dtype
    wide = compute_dtype(dtype)
    if name == "select" and dtype.bits < 16:
        wide = f32 if dtype.is_float else dtype
    elif name == "select":
        wide = dtype
    widened = [_widen(a, wide) if a.dtype == dtype else a for a in arguments]
    values = widened[1:] if name == "select" else widened
    if all(value.is_literal for value in values):
        widened[-len(values)] = settle(values[0])
    result = Value(
        _code(name, widened, wide),
        boolean if row.result == "bool" else wide,
        frozenset[str]().union(*(a.axes for a in arguments)),
        max(a.depth for a in arguments),
        1 + sum(a.weight for a in widened),
    )
    return result if row.result == "bool" else convert(result, dtype)


def _bare(value: Value) -> Value:
    """A literal beside an infix operator takes the dtype of the other side."""
    return value


LITERALS: dict[str, Callable[[Value], Value]] = {"div": operand, "pow": settle}
"""How operators that are functions for some dtypes take literals."""


def _widen(value: Value, wide: DType) -> Value:
    return replace(value, dtype=wide) if value.is_literal else convert(value, wide)


def _code(name: str, arguments: list[Value], dtype: DType) -> TExpression:
    row = OPERATORS[name]
    if name == "select":
        return call("tl.where", *(operand(a).code for a in arguments))
    special = SPECIAL.get(name)
    code = None if special is None else special([LITERALS.get(name, _bare)(a).code for a in arguments], dtype)
    if code is not None:
        return code
    if dtype.kind == "bool" and name in BOOLEAN:
        return Binary(BOOLEAN[name], arguments[0].code, arguments[1].code)
    if dtype.kind == "bool" and row.result == "bool" and name not in ("eq", "ne"):
        arguments = [convert(a, i32) for a in arguments]
    if row.infix and row.arity == 2:
        return Binary(row.infix, arguments[0].code, arguments[1].code)
    if dtype.is_int and name in ("maximum", "minimum"):
        return call(f"tl.{name}", *(operand(a).code for a in arguments))
    function = BUILTINS.get(name) or FUNCTIONS.get(name) or BY_WIDTH[name] + ("_single" if dtype == f32 else "")
    takes_literals = name in ("maximum", "minimum")
    return call(function, *(operand(a).code if takes_literals else settle(a).code for a in arguments))


Special = Callable[[list[TExpression], DType], TExpression | None]


def _divide(parts: list[TExpression], dtype: DType) -> TExpression:
    """Triton's own / for f32 is off by two units in the last place, which tells 6.0 / 3.0 from 2.0."""
    return call("tl.div_rn", *parts) if dtype == f32 else Binary("/", parts[0], parts[1])


def _reciprocal(parts: list[TExpression], dtype: DType) -> TExpression:
    return _divide([Literal(1.0), *parts], dtype)


def _square_root(parts: list[TExpression], dtype: DType) -> TExpression:
    return call("tl.sqrt_rn" if dtype == f32 else "tl.sqrt", *parts)


def _negate(parts: list[TExpression], dtype: DType) -> TExpression:
    """Triton 3.6 negates a float as 0 - x, which loses the sign of zero."""
    return Binary("*", parts[0], Literal(-1.0)) if dtype.is_float else Unary("-", parts[0])


def _invert(parts: list[TExpression], dtype: DType) -> TExpression:
    return Unary("~", parts[0])


def _sign(parts: list[TExpression], dtype: DType) -> TExpression | None:
    return call("integer_sign", *parts) if dtype.is_int else None


def _floor_divide(parts: list[TExpression], dtype: DType) -> TExpression:
    return call("floor_divide", *parts) if dtype.signed else Binary("//", parts[0], parts[1])


def _truncating_divide(parts: list[TExpression], dtype: DType) -> TExpression:
    return Binary("//", parts[0], parts[1])


def _modulo(parts: list[TExpression], dtype: DType) -> TExpression | None:
    if dtype.is_float:
        return None
    return call("remainder", *parts) if dtype.signed else Binary("%", parts[0], parts[1])


def _truncating_modulo(parts: list[TExpression], dtype: DType) -> TExpression | None:
    return None if dtype.is_float else Binary("%", parts[0], parts[1])


def _power(parts: list[TExpression], dtype: DType) -> TExpression | None:
    if dtype.is_float:
        return None
    return call("integer_power" if dtype.signed else "natural_power", *parts)


def _is_infinite(parts: list[TExpression], dtype: DType) -> TExpression:
    return Binary("==", call("tl.abs", *parts), Literal(float("inf")))


def _shift(operator: str) -> Special:
    return lambda parts, dtype: Binary(operator, parts[0], parts[1])


SPECIAL: dict[str, Special] = {
    "div": _divide, "reciprocal": _reciprocal, "sqrt": _square_root, "neg": _negate, "not": _invert, "sign": _sign,
    "floordiv": _floor_divide, "truncdiv": _truncating_divide, "mod": _modulo, "fmod": _truncating_modulo, "pow": _power,
    "isinf": _is_infinite, "shl": _shift("<<"), "shr": _shift(">>"),
}  # fmt: skip
"""Operators whose spelling depends on the dtype; None leaves a dtype to the tables above."""

FOLDS = {"any": "max", "all": "min"}
"""Monoids on bools that are folded as numbers; for each other one there is a function that combines two states."""


def identity(monoid: str, dtype: DType) -> Constant:
    """The state of an empty fold of elements of a dtype."""
    return MONOIDS[monoid].identity(dtype)[0]


def fold(monoid: str, old: Value, new: Value) -> Value:
    """Join two one-component states of one dtype."""
    operator = MONOIDS[monoid].operator
    return new if operator is None else apply_operator(operator, [old, new])


def fold_axis(monoid: str, value: Value, position: int) -> Value:
    """Fold along one dimension of a tensor, which goes. Small integers and bools are folded as i32, which changes no result."""
    dtype = value.dtype
    held = i32 if dtype.kind == "bool" or (dtype.is_int and dtype.bits < 32) else dtype
    combine = Name(f"combine_{FOLDS.get(monoid, monoid)}")
    code = call("tl.reduce", convert(value, held).code, Literal(position), combine)
    return convert(replace(value, code=code, dtype=held, weight=value.weight + 1), dtype)


def scan_axis(monoid: str, value: Value, position: int) -> Value:
    """Fold along one dimension of a tensor up to each of its points, in the types that `fold_axis` folds in."""
    dtype = value.dtype
    held = i32 if dtype.kind == "bool" or (dtype.is_int and dtype.bits < 32) else compute_dtype(dtype)
    combine = Name(f"combine_{FOLDS.get(monoid, monoid)}")
    code = call("tl.associative_scan", convert(value, held).code, Literal(position), combine)
    return convert(replace(value, code=code, dtype=held, weight=value.weight + 1), dtype)
