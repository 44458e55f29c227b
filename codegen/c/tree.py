"""A small tree of C, as much as the generated code needs. `tcomp.codegen.c.printer` prints it.

    expression := Name | Integer | Float | Call | Binary | Unary | Conditional | Subscript | Convert | Braces
    statement  := Declare | DeclareArray | Set | Evaluate | For | If | Scope | Return | Comment | Directive | Function

Types are spelled as C spells them (`const float* restrict`), names are C identifiers already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or a constant spelled by a header."""

    text: str


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer literal."""

    value: int


@dataclass(frozen=True, slots=True)
class Float:
    """A floating literal; a double unless `single`."""

    value: float
    single: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple[CExpression, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """An infix operator."""

    operator: str
    left: CExpression
    right: CExpression


@dataclass(frozen=True, slots=True)
class Unary:
    """A prefix operator."""

    operator: str
    operand: CExpression


@dataclass(frozen=True, slots=True)
class Conditional:
    """`condition ? yes : no`."""

    condition: CExpression
    yes: CExpression
    no: CExpression


@dataclass(frozen=True, slots=True)
class Subscript:
    """`base[index]`."""

    base: CExpression
    index: CExpression


@dataclass(frozen=True, slots=True)
class Convert:
    """`(type)operand`."""

    type: str
    operand: CExpression


@dataclass(frozen=True, slots=True)
class Braces:
    """An initialiser list, or a compound literal if `type` is not empty."""

    elements: tuple[CExpression, ...]
    type: str = ""


CExpression: TypeAlias = Name | Integer | Float | Call | Binary | Unary | Conditional | Subscript | Convert | Braces


@dataclass(frozen=True, slots=True)
class Declare:
    """`type name = value;`."""

    type: str
    name: str
    value: CExpression | None = None


@dataclass(frozen=True, slots=True)
class DeclareArray:
    """`type name[extent] = {rows};` with each element of the initialiser on a line of its own."""

    type: str
    name: str
    extent: int
    elements: tuple[CExpression, ...] = ()
    alignment: int = 0


@dataclass(frozen=True, slots=True)
class Set:
    """`target = value;`, or with another assignment operator."""

    target: CExpression
    value: CExpression
    operator: str = "="


@dataclass(frozen=True, slots=True)
class Evaluate:
    """An expression for its effect."""

    expression: CExpression


@dataclass(frozen=True, slots=True)
class For:
    """`for (int64_t variable = start; condition; variable += step)`; without a start the variable exists already."""

    variable: str
    start: CExpression | None
    condition: CExpression
    step: int
    body: tuple[CStatement, ...]


@dataclass(frozen=True, slots=True)
class If:
    """A branch."""

    condition: CExpression
    then: tuple[CStatement, ...]
    otherwise: tuple[CStatement, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """Statements in braces."""

    body: tuple[CStatement, ...]


@dataclass(frozen=True, slots=True)
class Return:
    """Leave the function."""

    value: CExpression | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment of one or more lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Directive:
    """A line for the preprocessor, `#` included."""

    text: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A function's parameter and what to say about it."""

    type: str
    name: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """A function, or its declaration if there is no body."""

    result: str
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[CStatement, ...] | None


CStatement: TypeAlias = (
    Declare | DeclareArray | Set | Evaluate | For | If | Scope | Return | Comment | Directive | Function
)


def call(function: str, *arguments: CExpression) -> Call:
    """A function call."""
    return Call(function, arguments)


def add(left: CExpression, right: CExpression) -> CExpression:
    """A sum without needless zeros and double signs."""
    if left == Integer(0):
        return right
    if isinstance(right, Integer):
        if right.value == 0:
            return left
        if right.value < 0:
            return Binary("-", left, Integer(-right.value))
    return Binary("+", left, right)


def both(conditions: list[CExpression]) -> CExpression:
    """All of the conditions, at least one."""
    joined = conditions[0]
    for condition in conditions[1:]:
        joined = Binary("&&", joined, condition)
    return joined
