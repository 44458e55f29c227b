"""The one printer of C: trees in, text out. Parentheses come from the precedence table."""

from __future__ import annotations

import math
import struct
from typing import assert_never

from tcomp.codegen.c.tree import (
    Binary,
    Braces,
    Call,
    CExpression,
    Comment,
    Conditional,
    Convert,
    CStatement,
    Declare,
    DeclareArray,
    Directive,
    Evaluate,
    Float,
    For,
    Function,
    If,
    Integer,
    Name,
    Return,
    Scope,
    Set,
    Subscript,
    Unary,
)

PRECEDENCE = {
    "||": 2, "&&": 3, "|": 4, "^": 5, "&": 6, "==": 7, "!=": 7, "<": 8, "<=": 8, ">": 8, ">=": 8,
    "<<": 9, ">>": 9, "+": 10, "-": 10, "*": 11, "/": 11, "%": 11,
}  # fmt: skip
CONDITIONAL, PREFIX, POSTFIX = 1, 12, 13
BITWISE, SHIFTS = ("&", "^", "|"), ("<<", ">>")
MIXED = frozenset(
    [("&&", "||")]
    + [(inner, outer) for outer in BITWISE for inner in (*BITWISE, *SHIFTS, "==", "!=", "<", "<=", ">", ">=", "+", "-")]
    + [(inner, outer) for outer in SHIFTS for inner in ("+", "-")]
)
"""Pairs (inner, outer) for which compilers and readers ask for parentheses that the grammar does not need."""


def print_c(statements: tuple[CStatement, ...]) -> str:
    """Print a translation unit."""
    return "\n".join(_print_body(statements, "")) + "\n"


def print_c_expression(expression: CExpression, precedence: int = 0) -> str:
    """Print an expression, in parentheses if it binds weaker than `precedence`."""
    match expression:
        case Name(text):
            return text
        case Integer(value):
            text = _integer(value)
            own = PREFIX if value < 0 else POSTFIX
        case Float(value, single):
            text = _float(value, single)
            own = PREFIX if text.startswith("-") else POSTFIX
        case Call(function, arguments):
            return f"{function}({', '.join(print_c_expression(a) for a in arguments)})"
        case Subscript(base, index):
            return f"{print_c_expression(base, POSTFIX)}[{print_c_expression(index)}]"
        case Binary():
            return _print_binary(expression, precedence)
        case Unary(operator, operand):
            # A prefix operand of a prefix operator is put in parentheses, or `- -x` would read `--x`.
            own, text = PREFIX, operator + print_c_expression(operand, POSTFIX)
        case Convert(type_, operand):
            own, text = PREFIX, f"({type_}){print_c_expression(operand, PREFIX)}"
        case Conditional(condition, yes, no):
            own = CONDITIONAL
            parts = [print_c_expression(part, CONDITIONAL + 1) for part in (condition, yes, no)]
            text = f"{parts[0]} ? {parts[1]} : {parts[2]}"
        case Braces(elements, type_):
            prefix = f"({type_})" if type_ else ""
            return f"{prefix}{{{', '.join(print_c_expression(e) for e in elements)}}}"
        case _:
            assert_never(expression)
    return f"({text})" if own < precedence else text


def _print_binary(expression: Binary, precedence: int) -> str:
    own = PRECEDENCE[expression.operator]
    left = print_c_expression(expression.left, own)
    right = print_c_expression(expression.right, own + 1)
    if isinstance(expression.left, Binary) and _confuses(expression.left.operator, expression.operator):
        left = f"({print_c_expression(expression.left)})"
    if isinstance(expression.right, Binary) and _confuses(expression.right.operator, expression.operator):
        right = f"({print_c_expression(expression.right)})"
    text = f"{left} {expression.operator} {right}"
    return f"({text})" if own < precedence else text


def _confuses(inner: str, outer: str) -> bool:
    return inner != outer and (inner, outer) in MIXED and PRECEDENCE[inner] > PRECEDENCE[outer]


def _integer(value: int) -> str:
    if value == -(2**63):
        return "INT64_MIN"
    return str(value) if -(2**31) < value < 2**31 else f"INT64_C({value})"


def _float(value: float, single: bool) -> str:
    """The shortest decimal that reads back as the same float or double."""
    suffix = "f" if single else ""
    if math.isnan(value):
        return f'__builtin_nan{suffix}("")'
    if single:
        value = _round_to_single(value)
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}__builtin_inf{suffix}()"
    text = repr(value)
    if single:
        text = next(t for d in range(1, 18) if _round_to_single(float(t := f"{value:.{d}g}")) == value)
    return text + ("" if any(c in text for c in ".e") else ".0") + suffix


def _round_to_single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _print_body(statements: tuple[CStatement, ...], indent: str) -> list[str]:
    return [line for statement in statements for line in _print_statement(statement, indent)]


def _print_statement(statement: CStatement, indent: str) -> list[str]:
    inner = indent + "  "
    match statement:
        case Declare(type_, name, value):
            return [f"{indent}{type_} {name};" if value is None else f"{indent}{type_} {name} = {print_c_expression(value)};"]
        case DeclareArray(type_, name, extent, elements, alignment):
            attribute = f" __attribute__((aligned({alignment})))" if alignment else ""
            head = f"{indent}{type_} {name}[{extent}]{attribute}"
            if not elements:
                return [f"{head};"]
            return [f"{head} = {{", *(f"{inner}{print_c_expression(e)}," for e in elements), f"{indent}}};"]
        case Set(target, value, operator):
            return [f"{indent}{print_c_expression(target)} {operator} {print_c_expression(value)};"]
        case Evaluate(expression):
            return [f"{indent}{print_c_expression(expression)};"]
        case For(variable, start, condition, step, body):
            first = "" if start is None else f"int64_t {variable} = {print_c_expression(start)}"
            after = f"{variable}++" if step == 1 else f"{variable} += {step}"
            head = f"{indent}for ({first}; {print_c_expression(condition)}; {after}) {{"
            return [head, *_print_body(body, inner), f"{indent}}}"]
        case If(condition, then, otherwise):
            lines = [f"{indent}if ({print_c_expression(condition)}) {{", *_print_body(then, inner)]
            if otherwise:
                lines += [f"{indent}}} else {{", *_print_body(otherwise, inner)]
            return [*lines, f"{indent}}}"]
        case Scope(body):
            return [f"{indent}{{", *_print_body(body, inner), f"{indent}}}"]
        case Return(value):
            return [f"{indent}return;" if value is None else f"{indent}return {print_c_expression(value)};"]
        case Comment(lines):
            # A comment ends at the first `*/`, wherever its text comes from.
            safe = [line.replace("*/", "* /") for line in lines]
            text = f"/* {f'{chr(10)} * '.join(safe)} */"
            return [(indent + line).rstrip() for line in text.splitlines()]
        case Directive(text):
            return [text]
        case Function():
            return _print_function(statement)
        case _:
            assert_never(statement)


def _print_function(function: Function) -> list[str]:
    end = ";" if function.body is None else " {"
    spelled = [f"{p.type} {p.name}".rstrip() for p in function.parameters]
    head = f"{function.result} {function.name}("
    if any(p.comment for p in function.parameters):
        lines = [head]
        for position, parameter in enumerate(function.parameters):
            comma = "," if position + 1 < len(spelled) else ")" + end
            comment = f"  /* {parameter.comment} */" if parameter.comment else ""
            lines.append(f"    {spelled[position]}{comma}{comment}")
    else:
        lines = [f"{head}{', '.join(spelled) or 'void'}){end}"]
    if function.body is None:
        return lines
    return [*lines, *_print_body(function.body, "  "), "}"]
