"""Scalar operators on C values: which are infix, which are functions of the support headers, and where results need rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tcomp.codegen.c.tree import Binary, CExpression, Conditional, Unary, call
from tcomp.codegen.c.types import Value, broadcast, convert, is_narrow, literal, settle, suffix_of
from tcomp.ir.dtypes import DType, boolean, compute_dtype
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import OPERATORS


@dataclass(frozen=True, slots=True)
class Spelling:
    """How C spells an operator, where its name and its row in `tcomp.ir.operators` do not tell."""

    function: str = ""
    """The support function that computes it, if that is not named like it."""
    infix: str = ""
    mirrored: str = ""
    """What compares lanes of truths, of which a true one is -1, so that order is turned around."""
    boolean: str = ""
    """What it is among truths: the larger of two is their disjunction."""
    is_exact: bool = False
    """Whether its result on a narrow type is of that type without rounding or wrapping."""
    is_exact_for_floats: bool = False


_PLAIN = Spelling()

SPELLINGS: dict[str, Spelling] = {
    "maximum": Spelling("max", boolean="or", is_exact=True),
    "minimum": Spelling("min", boolean="and", is_exact=True),
    "floordiv": Spelling("floor_divide"),
    "truncdiv": Spelling("trunc_divide"),
    "mod": Spelling("remainder"),
    "shl": Spelling(infix="<<"),
    "shr": Spelling(infix=">>", is_exact=True),
    "lt": Spelling(mirrored="gt"),
    "le": Spelling(mirrored="ge"),
    "gt": Spelling(mirrored="lt"),
    "ge": Spelling(mirrored="le"),
    "select": Spelling(is_exact=True),
    "copysign": Spelling(is_exact=True),
    "sign": Spelling(is_exact=True),
    "and": Spelling(is_exact=True),
    "or": Spelling(is_exact=True),
    "xor": Spelling(is_exact=True),
    "neg": Spelling(is_exact_for_floats=True),
    "abs": Spelling(is_exact_for_floats=True),
}
"""One row an operator; those without are support functions of their own name, or infix."""


def apply_operator(name: str, arguments: list[Value]) -> Value:
    """Apply an operator to values of one dtype; the result has lanes if an argument has."""
    arguments = [settle(argument) for argument in arguments]
    row = OPERATORS[name]
    dtype = boolean if row.result == "bool" else arguments[-1].dtype
    is_vector = any(argument.is_vector for argument in arguments)
    spelling = SPELLINGS.get(name, _PLAIN)
    is_exact = spelling.is_exact or (spelling.is_exact_for_floats and dtype.is_float)
    weight = 1 + sum(argument.weight for argument in arguments)
    return Value(_code(name, arguments, is_vector), dtype, is_vector, is_narrow(dtype) and not is_exact, weight)


def _code(name: str, arguments: list[Value], is_vector: bool) -> CExpression:
    operand = arguments[-1]
    is_bool = operand.kind == "bool"
    if name == "select":
        return _select(arguments)
    if is_bool:
        name = SPELLINGS.get(name, _PLAIN).boolean or name
    row, spelling = OPERATORS[name], SPELLINGS.get(name, _PLAIN)
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
    if spelling.infix:
        return Binary(spelling.infix, arguments[0].code, arguments[1].code)
    arguments = _even(arguments)
    if name == "maximum" and arguments[1].code == _even([arguments[0], literal(0, operand.dtype)])[1].code:
        return call(f"tcomp_relu_{suffix_of(arguments[0])}", arguments[0].code)
    function = (is_bool and is_vector and spelling.mirrored) or spelling.function or name
    return call(f"tcomp_{function}_{suffix_of(arguments[0])}", *(a.code for a in arguments))


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
