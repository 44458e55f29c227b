"""Rules of bools, bits, choices and extremes."""

from __future__ import annotations

import math

from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Apply, Constant, Expr, Number, apply, constant
from tcomp.passes.cascade.rules.arithmetic import fold_literals
from tcomp.passes.cascade.rules.rule import Context, Rule, arguments_of, orders

_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}


def invert_twice(node: Expr, context: Context) -> Expr | None:
    """!!B[i] => B[i]."""
    match arguments_of(node):
        case (Apply("not", (x,)),):
            return x
    return None


def invert_comparison(node: Expr, context: Context) -> Expr | None:
    """!(N[i] < M[i]) => N[i] >= M[i] if nothing can be nan.

    !(X[i] == Y[i]) => X[i] != Y[i]
    """
    match arguments_of(node):
        case (Apply("eq" | "ne" as operator, (a, b)),):
            return apply(_OPPOSITE[operator], a, b)
        case (Apply("lt" | "le" | "gt" | "ge" as operator, (a, b)),) if not context.dtype(a).is_float:
            return apply(_OPPOSITE[operator], a, b)
    return None


def and_literal(node: Expr, context: Context) -> Expr | None:
    """B[i] & true => B[i].

    B[i] & false => false
    N[i] & -1 => N[i]
    N[i] & 0 => 0
    """
    x, y = arguments_of(node)
    if not isinstance(y, Constant):
        return None
    return y if y.value == 0 else x if y.value == _all_bits(y.dtype) else None


def or_literal(node: Expr, context: Context) -> Expr | None:
    """B[i] | false => B[i].

    B[i] | true => true
    N[i] | 0 => N[i]
    N[i] | -1 => -1
    """
    x, y = arguments_of(node)
    if not isinstance(y, Constant):
        return None
    return x if y.value == 0 else y if y.value == _all_bits(y.dtype) else None


def xor_literal(node: Expr, context: Context) -> Expr | None:
    """B[i] ^ false => B[i].

    B[i] ^ true => !B[i]
    N[i] ^ 0 => N[i]
    """
    x, y = arguments_of(node)
    if not isinstance(y, Constant):
        return None
    return x if y.value == 0 else apply("not", x) if y.value == _all_bits(y.dtype) else None


def _all_bits(dtype: DType) -> Number:
    return True if dtype.kind == "bool" else -1 if dtype.signed else 2**dtype.bits - 1


def join_same(node: Expr, context: Context) -> Expr | None:
    """B[i] & B[i] => B[i].

    N[i] | N[i] => N[i]
    minimum(X[i], X[i]) => X[i]
    """
    x, y = arguments_of(node)
    return x if x == y else None


def xor_same(node: Expr, context: Context) -> Expr | None:
    """N[i] ^ N[i] => 0."""
    x, y = arguments_of(node)
    return constant(0, context.dtype(x)) if x == y else None


def absorb(node: Expr, context: Context) -> Expr | None:
    """B[i] & (B[i] & C[i]) => B[i] & C[i].

    minimum(X[i], minimum(X[i], Y[i])) => minimum(X[i], Y[i])
    """
    assert isinstance(node, Apply)
    x, inner = node.arguments
    return inner if any(x == other for other, _ in orders(inner, node.operator)) else None


def select_literal(node: Expr, context: Context) -> Expr | None:
    """select(true, X[i], Y[i]) => X[i].

    select(false, X[i], Y[i]) => Y[i]
    """
    condition, a, b = arguments_of(node)
    if not isinstance(condition, Constant):
        return None
    return a if condition.value else b


def select_same(node: Expr, context: Context) -> Expr | None:
    """select(B[i], X[i], X[i]) => X[i]."""
    _, a, b = arguments_of(node)
    return a if a == b else None


def select_inverted(node: Expr, context: Context) -> Expr | None:
    """select(!B[i], X[i], Y[i]) => select(B[i], Y[i], X[i])."""
    match arguments_of(node):
        case Apply("not", (condition,)), a, b:
            return apply("select", condition, b, a)
    return None


def select_nested(node: Expr, context: Context) -> Expr | None:
    """select(B[i], select(B[i], X[i], Y[i]), Z[i]) => select(B[i], X[i], Z[i]).

    select(B[i], X[i], select(B[i], Y[i], Z[i])) => select(B[i], X[i], Z[i])
    """
    condition, a, b = arguments_of(node)
    match a, b:
        case Apply("select", (inner, kept, _)), _ if inner == condition:
            return apply("select", condition, kept, b)
        case _, Apply("select", (inner, _, kept)) if inner == condition:
            return apply("select", condition, a, kept)
    return None


def select_condition(node: Expr, context: Context) -> Expr | None:
    """select(B[i], true, false) => B[i].

    select(B[i], false, true) => !B[i]
    """
    match arguments_of(node):
        case condition, Constant(True, dtype), Constant(False, _) if dtype.kind == "bool":
            return condition
        case condition, Constant(False, dtype), Constant(True, _) if dtype.kind == "bool":
            return apply("not", condition)
    return None


def compare_with_self(node: Expr, context: Context) -> Expr | None:
    """N[i] == N[i] => true if nothing can be nan.

    N[i] < N[i] => false
    """
    assert isinstance(node, Apply)
    a, b = node.arguments
    if a != b or context.dtype(a).is_float:
        return None
    return constant(node.operator in ("eq", "le", "ge"), context.dtype(node))


def compare_bool(node: Expr, context: Context) -> Expr | None:
    """B[i] == true => B[i].

    B[i] != true => !B[i]
    B[i] == false => !B[i]
    B[i] != false => B[i]
    """
    assert isinstance(node, Apply)
    x, y = node.arguments
    if not isinstance(y, Constant) or y.dtype.kind != "bool":
        return None
    return x if (node.operator == "eq") == bool(y.value) else apply("not", x)


def minimum_of_limit(node: Expr, context: Context) -> Expr | None:
    """minimum(X[i], inf) => X[i].

    minimum(N[i], 9223372036854775807) => N[i]
    minimum(N[i], -9223372036854775808) => -9223372036854775808

    Not of -inf: the minimum of nan and -inf is nan.
    """
    return _of_limit(node, lowest_wins=True)


def maximum_of_limit(node: Expr, context: Context) -> Expr | None:
    """maximum(X[i], -inf) => X[i].

    maximum(N[i], -9223372036854775808) => N[i]
    maximum(N[i], 9223372036854775807) => 9223372036854775807

    Not of inf: the maximum of nan and inf is nan.
    """
    return _of_limit(node, lowest_wins=False)


def _of_limit(node: Expr, lowest_wins: bool) -> Expr | None:
    x, limit = arguments_of(node)
    if not isinstance(limit, Constant):
        return None
    lowest, highest = _limits(limit.dtype)
    winner, loser = (lowest, highest) if lowest_wins else (highest, lowest)
    if limit.value == loser:
        return x
    return limit if limit.value == winner and not limit.dtype.is_float else None


def _limits(dtype: DType) -> tuple[Number, Number]:
    if dtype.is_float:
        # e4m3 has no infinity: a literal beyond its range is nan.
        return (math.nan, math.nan) if dtype.name == "e4m3" else (-math.inf, math.inf)
    if dtype.kind == "bool":
        return False, True
    lowest = -(2 ** (dtype.bits - 1)) if dtype.signed else 0
    return lowest, lowest + 2**dtype.bits - 1


def join_extremes(node: Expr, context: Context) -> Expr | None:
    """maximum(maximum(X[i], 1.0), 2.0) => maximum(X[i], 2.0).

    minimum(minimum(X[i], 1.0), 2.0) => minimum(X[i], 1.0)
    """
    assert isinstance(node, Apply)
    inner, outer = node.arguments
    if not isinstance(outer, Constant):
        return None
    for x, other in orders(inner, node.operator):
        joined = fold_literals(apply(node.operator, other, outer), context) if isinstance(other, Constant) else None
        if joined is not None:
            return apply(node.operator, x, joined)
    return None


LOGIC = (
    Rule(("not",), invert_twice),
    Rule(("not",), invert_comparison),
    Rule(("and",), and_literal),
    Rule(("or",), or_literal),
    Rule(("xor",), xor_literal),
    Rule(("xor",), xor_same),
    Rule(("and", "or", "minimum", "maximum"), join_same),
    Rule(("and", "or", "minimum", "maximum"), absorb),
    Rule(("select",), select_literal),
    Rule(("select",), select_same),
    Rule(("select",), select_inverted),
    Rule(("select",), select_nested),
    Rule(("select",), select_condition),
    Rule(("eq", "ne", "lt", "le", "gt", "ge"), compare_with_self),
    Rule(("eq", "ne"), compare_bool),
    Rule(("minimum",), minimum_of_limit),
    Rule(("maximum",), maximum_of_limit),
    Rule(("minimum", "maximum"), join_extremes),
)
