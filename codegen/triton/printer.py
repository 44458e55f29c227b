"""The one printer of Triton: trees in, text out. Parentheses come from the precedence table."""

from __future__ import annotations

import math
from typing import assert_never

from tcomp.codegen.triton.tree import (
    Binary,
    Call,
    Comment,
    Evaluate,
    Expand,
    For,
    Function,
    Literal,
    Name,
    Set,
    TExpression,
    To,
    TStatement,
    Tuple,
    Unary,
)

PRECEDENCE = {
    "==": 1, "!=": 1, "<": 1, "<=": 1, ">": 1, ">=": 1, "|": 2, "^": 3, "&": 4, "<<": 5, ">>": 5,
    "+": 6, "-": 6, "*": 7, "/": 7, "//": 7, "%": 7,
}  # fmt: skip
COMPARISON, PREFIX, POSTFIX = 1, 8, 9
INDENT = "    "


def print_triton(statements: tuple[TStatement, ...]) -> str:
    """Print statements at the top of a module."""
    return "\n".join(_print_body(statements, "")) + "\n"


def print_triton_expression(expression: TExpression, precedence: int = 0) -> str:
    """Print an expression, in parentheses if it binds weaker than `precedence`."""
    match expression:
        case Name(text, _):
            return text
        case Literal(value):
            text = _literal(value)
            own = PREFIX if text.startswith("-") else POSTFIX
        case Call(function, arguments, keywords):
            parts = [print_triton_expression(a) for a in arguments]
            parts += [f"{name}={print_triton_expression(a)}" for name, a in keywords]
            return f"{function}({', '.join(parts)})"
        case To(operand, type_, bitcast):
            return f"{_receiver(operand)}.to({type_}{', bitcast=True' if bitcast else ''})"
        case Expand(operand, kept):
            return f"{_receiver(operand)}[{', '.join(':' if k else 'None' for k in kept)}]"
        case Binary(operator, left, right):
            own = PRECEDENCE[operator]
            # Comparisons chain in Python: a < b == c means (a < b) and (b == c).
            before = own + 1 if own == COMPARISON else own
            text = f"{print_triton_expression(left, before)} {operator} {print_triton_expression(right, own + 1)}"
        case Unary(operator, operand):
            own, text = PREFIX, operator + print_triton_expression(operand, PREFIX)
        case Tuple(elements):
            inner = ", ".join(print_triton_expression(e) for e in elements)
            return f"({inner},)" if len(elements) == 1 else f"({inner})"
        case _:
            assert_never(expression)
    return f"({text})" if own < precedence else text


def _receiver(operand: TExpression) -> str:
    """What a method or an index follows: `1.to` would not parse."""
    text = print_triton_expression(operand, POSTFIX)
    return f"({text})" if isinstance(operand, Literal) and not text.startswith("(") else text


def _literal(value: float | str) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value!r}")'
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _print_body(statements: tuple[TStatement, ...], indent: str) -> list[str]:
    return [line for statement in statements for line in _print_statement(statement, indent)]


def _print_statement(statement: TStatement, indent: str) -> list[str]:
    match statement:
        case Set(name, value):
            return [f"{indent}{name} = {print_triton_expression(value)}"]
        case Evaluate(expression):
            return [f"{indent}{print_triton_expression(expression)}"]
        case For(variable, start, stop, step, body):
            bounds = [print_triton_expression(start), print_triton_expression(stop), *([str(step)] if step != 1 else [])]
            return [f"{indent}for {variable} in range({', '.join(bounds)}):", *_print_body(body, indent + INDENT)]
        case Comment(lines):
            return [f"{indent}# {line}".rstrip() for text in lines for line in text.splitlines() or [""]]
        case Function():
            return _print_function(statement)
        case _:
            assert_never(statement)


def _print_function(function: Function) -> list[str]:
    lines = [f"def {function.name}("]
    for parameter in function.parameters:
        comment = f"  # {' '.join(parameter.comment.split())}" if parameter.comment else ""
        lines.append(f"{INDENT}{parameter.name},{comment}")
    return [*lines, "):", *_print_body(function.body, INDENT)]
