"""A small tree of the Python that Triton kernels are written in. `tcomp.codegen.triton.printer` prints it.

    expression := Name | Literal | Call | To | Expand | Binary | Unary | Tuple
    statement  := Set | Evaluate | For | Comment | Function

Names are Python identifiers already, dotted ones included (`tl.float32`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, an element type, a function.

    A variable that is set more than once has a version for each value: equal trees stand for equal values. It is not printed.
    """

    text: str
    version: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A number, a truth or a string. Equality is that of the text, so -0.0 differs from 0.0 and True from 1."""

    value: int | float | bool | str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


@dataclass(frozen=True, slots=True)
class Call:
    """A function call, with keyword arguments last."""

    function: str
    arguments: tuple[TExpression, ...]
    keywords: tuple[tuple[str, TExpression], ...] = ()


@dataclass(frozen=True, slots=True)
class To:
    """`operand.to(type)`, a conversion of a tensor or scalar."""

    operand: TExpression
    type: str
    bitcast: bool = False


@dataclass(frozen=True, slots=True)
class Expand:
    """`operand[:, None]`: a dimension of the operand where `kept` is true, a new one of length one elsewhere."""

    operand: TExpression
    kept: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """An infix operator."""

    operator: str
    left: TExpression
    right: TExpression


@dataclass(frozen=True, slots=True)
class Unary:
    """A prefix operator."""

    operator: str
    operand: TExpression


@dataclass(frozen=True, slots=True)
class Tuple:
    """A shape, or an order of dimensions."""

    elements: tuple[TExpression, ...]


TExpression: TypeAlias = Name | Literal | Call | To | Expand | Binary | Unary | Tuple


@dataclass(frozen=True, slots=True)
class Set:
    """`name = value`."""

    name: str
    value: TExpression


@dataclass(frozen=True, slots=True)
class Evaluate:
    """An expression for its effect."""

    expression: TExpression


@dataclass(frozen=True, slots=True)
class For:
    """`for variable in range(start, stop, step)`."""

    variable: str
    start: TExpression
    stop: TExpression
    step: int
    body: tuple[TStatement, ...]


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment of one or more lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A function's parameter and what to say about it."""

    name: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """A function."""

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[TStatement, ...]


TStatement: TypeAlias = Set | Evaluate | For | Comment | Function


def call(function: str, *arguments: TExpression, **keywords: TExpression) -> Call:
    """A function call."""
    return Call(function, arguments, tuple(keywords.items()))


def add(left: TExpression, right: TExpression) -> TExpression:
    """A sum without needless zeros and double signs."""
    if left == Literal(0):
        return right
    if isinstance(right, Literal) and isinstance(right.value, int):
        if right.value == 0:
            return left
        if right.value < 0:
            return Binary("-", left, Literal(-right.value))
    return Binary("+", left, right)


def shape(sizes: tuple[int, ...]) -> Tuple:
    """A tuple of integers."""
    return Tuple(tuple(map(Literal, sizes)))
