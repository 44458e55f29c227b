"""Scalar operators on C values: which are infix, which are functions of the support headers, and where results need rounding."""

from __future__ import annotations

from dataclasses import replace

from tcomp.codegen.c.tree import Binary, CExpression, Conditional, Unary, call
from tcomp.codegen.c.types import Value, broadcast, convert, is_narrow, literal, settle, suffix_of
from tcomp.ir.dtypes import DType, boolean, compute_dtype
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import OPERATORS

FUNCTION_NAMES = {
    "maximum": "max", "minimum": "min", "floordiv": "floor_divide", "truncdiv": "trunc_divide", "mod": "remainder",
}  # fmt: skip
"""Support functions that are not named like their operator."""

SHIFTS = {"shl": "<<", "shr": ">>"}
MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
EXACT = frozenset({"select", "maximum", "minimum", "copysign", "sign", "and", "or", "xor", "shr"})
"""Operators whose result on a narrow type is of that type without rounding or wrapping."""


def apply_operator(name: str, arguments: list[Value]) -> Value:
    """Apply an operator to values of one dtype; the result has lanes if an argument has."""
    arguments = [settle(argument) for argument in arguments]
    row = OPERATORS[name]
    dtype = boolean if row.result == "bool" else arguments[-1].dtype
    is_vector = any(argument.is_vector for argument in arguments)
    is_exact = name in EXACT or (name in ("neg", "abs") and dtype.is_float)
    weight = 1 + sum(argument.weight for argument in arguments)
    return Value(_code(name, arguments, is_vector), dtype, is_vector, is_narrow(dtype) and not is_exact, weight)


def _code(name: str, arguments: list[Value], is_vector: bool) -> CExpression:
    operand = arguments[-1]
    is_bool = operand.kind == "bool"
    if name == "select":
        return _select(arguments)
    if is_bool:
        # The larger of two truths is their disjunction.
        name = {"maximum": "or", "minimum": "and"}.get(name, name)
    row = OPERATORS[name]
    if name == "not":
        return Unary("!" if is_bool and not is_vector else "~", operand.code)
    if name == "neg":
        return Unary("-", operand.code)
    if row.result == "bool" and row.infix and not is_vector:
        return Binary(row.infix, arguments[0].code, arguments[1].code)
    if row.infix and row.result == "same":
        if is_bool:
            arguments = _even(arguments)
        return Binary(row.infix, arguments[0].code, arguments[1].code)
    if name in SHIFTS:
        return Binary(SHIFTS[name], arguments[0].code, arguments[1].code)
    if is_bool and is_vector:
        # A true lane is -1, so order is turned around.
        name = MIRRORED.get(name, name)
    arguments = _even(arguments)
    if name == "maximum" and arguments[1].code == _even([arguments[0], literal(0, operand.dtype)])[1].code:
        return call(f"tcomp_relu_{suffix_of(arguments[0])}", arguments[0].code)
    return call(f"tcomp_{FUNCTION_NAMES.get(name, name)}_{suffix_of(arguments[0])}", *(a.code for a in arguments))


def _even(arguments: list[Value]) -> list[Value]:
    """All with lanes if one has."""
    return [broadcast(a) for a in arguments] if any(a.is_vector for a in arguments) else arguments


def _select(arguments: list[Value]) -> CExpression:
    condition, *branches = arguments
    branches = _even(branches)
    if not condition.is_vector:
        return Conditional(condition.code, branches[0].code, branches[1].code)
    branches = [broadcast(b) for b in branches]
    return call(f"tcomp_select_{suffix_of(branches[0])}", condition.code, branches[0].code, branches[1].code)


def state_dtype(dtype: DType) -> DType:
    """The dtype in which elements of a dtype are folded: f32 for narrow floats."""
    return compute_dtype(dtype)


def fold(monoid: str, old: Value, new: Value) -> Value:
    """Merge two one-component states."""
    operator = MONOIDS[monoid].operator
    if operator is None:
        return new
    if MONOIDS[monoid].name in ("sum", "prod"):
        # Wrapping commutes with sums and products: once at the end is enough.
        old, new = replace(old, is_pending=False), replace(new, is_pending=False)
    return apply_operator(operator, [old, new])


def identity(monoid: str, dtype: DType) -> Value:
    """The state of an empty reduction."""
    return convert(literal(MONOIDS[monoid].identity(dtype)[0].value, state_dtype(dtype)), state_dtype(dtype))
