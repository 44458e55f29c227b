"""Rewrite rules of scalar expressions, as data: the table that `tcomp.passes.cascade.simplify` applies.

A rule is a function from a node to what replaces it, or None; its docstring is `before => after if condition`, one rewrite a line,
and a test checks that the code does just that. The matcher offers a commutative operator's arguments in both orders, so no rule is
written twice. Rules keep every bit of IEEE arithmetic, NaN payloads aside, unless marked `exact=False`: those only skip or
reorder roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tcomp.ir.dtypes import DType, boolean
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, Ordinal
from tcomp.ir.index import Bounds
from tcomp.ir.operators import OPERATORS


@dataclass(frozen=True, slots=True)
class Context:
    """What conditions may ask: dtypes and shapes of tensors, and the ranges of variables."""

    dtypes: Mapping[str, DType]
    shapes: Mapping[str, tuple[Index, ...]]
    bounds: Bounds

    def dtype(self, expression: Expr) -> DType:
        """The dtype of a well-typed expression."""
        match expression:
            case Load(tensor, _):
                return self.dtypes[tensor]
            case Constant(_, dtype) | Ordinal(_, dtype) | Cast(dtype, _):
                return dtype
            case Apply(operator, arguments):
                return boolean if OPERATORS[operator].result == "bool" else self.dtype(arguments[-1])


Rewrite: TypeAlias = Callable[[Expr, Context], Expr | None]
"""A rule's function. It is only called on nodes of the rule's roots."""

CAST, LOAD, ORDINAL = "cast", "load", "ordinal"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewrite of nodes with the given roots: names of operators, or CAST, LOAD, ORDINAL."""

    roots: tuple[str, ...]
    rewrite: Rewrite
    exact: bool = True

    @property
    def name(self) -> str:
        """The name of the rule's function."""
        return self.rewrite.__name__


def root_of(expression: Expr) -> str:
    """Under which root the rules for a node are listed; constants have none."""
    match expression:
        case Apply(operator, _):
            return operator
        case Load():
            return LOAD
        case Cast():
            return CAST
        case Ordinal():
            return ORDINAL
        case Constant():
            return ""


def arguments_of(expression: Expr) -> tuple[Expr, ...]:
    """The arguments of an operator."""
    assert isinstance(expression, Apply)
    return expression.arguments


def is_literal(expression: Expr, *values: float) -> bool:
    """Whether an expression is a literal of one of these values; -0.0 is not 0.0, but 0 and 0.0 are one."""
    if not isinstance(expression, Constant):
        return False
    found = repr(float(expression.value))
    return any(found == repr(float(value)) for value in values)


def orders(expression: Expr, operator: str) -> tuple[tuple[Expr, ...], ...]:
    """The arguments of a commutative operator in both orders, nothing for another expression."""
    if isinstance(expression, Apply) and expression.operator == operator:
        return expression.arguments, expression.arguments[::-1]
    return ()
