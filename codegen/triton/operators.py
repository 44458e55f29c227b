"""Scalar operators on Triton values: which are infix, which are built-in functions, and which are ours.

Narrow floats are widened to f32, and the result is rounded to them again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tcomp.codegen.triton.tree import Binary, Literal, Name, TExpression, Unary, call
from tcomp.codegen.triton.types import Value, convert, operand, settle
from tcomp.ir.dtypes import DType, boolean, compute_dtype, f32, i32
from tcomp.ir.expressions import Constant
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import OPERATORS


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


def _widen(value: Value, wide: DType) -> Value:
    return replace(value, dtype=wide) if value.is_literal else convert(value, wide)


def _code(name: str, arguments: list[Value], dtype: DType) -> TExpression:
    row = OPERATORS[name]
    if name == "select":
        return call("tl.where", *(operand(a).code for a in arguments))
    spelling = SPELLINGS.get(name, _PLAIN)
    special = None if spelling.special is None else spelling.special([spelling.literal(a).code for a in arguments], dtype)
    if special is not None:
        return special
    if dtype.kind == "bool" and spelling.boolean:
        return Binary(spelling.boolean, arguments[0].code, arguments[1].code)
    if dtype.kind == "bool" and row.result == "bool" and name not in ("eq", "ne"):
        arguments = [convert(a, i32) for a in arguments]
    if row.infix and row.arity == 2:
        return Binary(row.infix, arguments[0].code, arguments[1].code)
    if dtype.is_int and spelling.integers:
        return call(spelling.integers, *(operand(a).code for a in arguments))
    function = spelling.function + ("_single" if spelling.is_by_width and dtype == f32 else "")
    return call(function, *((operand if spelling.integers else settle)(a).code for a in arguments))


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


def _bare(value: Value) -> Value:
    """A literal beside an infix operator takes the dtype of the other side."""
    return value


@dataclass(frozen=True, slots=True)
class Spelling:
    """How Triton spells an operator, where it is not infix for every dtype."""

    function: str = ""
    """A function of Triton that computes it as we mean it, or one of the support files; for f32 and f64 alike."""
    is_by_width: bool = False
    """Whether the function is that for f64, and there is another for f32 whose name ends in `_single`."""
    integers: str = ""
    """The function for integers, if it is another; then both take literals as they are."""
    boolean: str = ""
    """The infix operator that joins truths."""
    special: Special | None = None
    """What depends on the dtype; None leaves one to what is said above."""
    literal: Callable[[Value], Value] = _bare
    """How `special` takes literals, where it is a function for some dtypes."""


_PLAIN = Spelling()

SPELLINGS: dict[str, Spelling] = {
    "div": Spelling(special=_divide, literal=operand),
    "floordiv": Spelling(special=_floor_divide),
    "mod": Spelling("float_remainder", special=_modulo),
    "truncdiv": Spelling(special=_truncating_divide),
    "fmod": Spelling("float_modulus", special=_truncating_modulo),
    "neg": Spelling(special=_negate),
    "abs": Spelling("tl.abs"),
    "sign": Spelling("sign", special=_sign),
    "minimum": Spelling("minimum", integers="tl.minimum", boolean="&"),
    "maximum": Spelling("maximum", integers="tl.maximum", boolean="|"),
    "and": Spelling(boolean="&"),
    "xor": Spelling(boolean="^"),
    "or": Spelling(boolean="|"),
    "not": Spelling(special=_invert),
    "shl": Spelling(special=_shift("<<")),
    "shr": Spelling(special=_shift(">>")),
    "isnan": Spelling("is_nan"),
    "isinf": Spelling(special=_is_infinite),
    "exp": Spelling("tl.exp"),
    "exp2": Spelling("tl.exp2"),
    "expm1": Spelling("expm1", is_by_width=True),
    "log": Spelling("tl.log"),
    "log2": Spelling("tl.log2"),
    "log10": Spelling("log10"),
    "log1p": Spelling("log1p", is_by_width=True),
    "sqrt": Spelling(special=_square_root),
    "rsqrt": Spelling("tl.rsqrt"),
    "reciprocal": Spelling(special=_reciprocal),
    "sin": Spelling("tl.sin"),
    "cos": Spelling("tl.cos"),
    "tan": Spelling("tan"),
    "asin": Spelling("asin"),
    "acos": Spelling("acos"),
    "atan": Spelling("atan"),
    "atan2": Spelling("atan2"),
    "sinh": Spelling("sinh"),
    "cosh": Spelling("cosh"),
    "tanh": Spelling("tanh", is_by_width=True),
    "asinh": Spelling("asinh"),
    "acosh": Spelling("acosh"),
    "atanh": Spelling("atanh"),
    "sigmoid": Spelling("sigmoid"),
    "erf": Spelling("tl.erf"),
    "erfc": Spelling("erfc"),
    "erfinv": Spelling("erfinv"),
    "lgamma": Spelling("lgamma"),
    "digamma": Spelling("digamma"),
    "pow": Spelling("power", special=_power, literal=settle),
    "floor": Spelling("tl.floor"),
    "ceil": Spelling("tl.ceil"),
    "trunc": Spelling("trunc"),
    "round": Spelling("round_half_even"),
    "copysign": Spelling("copy_sign"),
    "hypot": Spelling("hypot"),
    "nextafter": Spelling("next_after", is_by_width=True),
}
"""One row an operator; those without are infix, as in C."""

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
