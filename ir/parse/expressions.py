"""Reads indices and expressions, for the parsers of cascades and of tile programs. The grammar is in `tcomp.ir.expressions`.

In an index, `*`, `//` and `%` bind alike and to the left, a leading minus binds tighter (as in Python, `-i // 4` is `(-i) // 4`).
In an expression, a minus before a literal belongs to it: `-1.0` is a literal and `neg(1.0)` an operator.
"""

from __future__ import annotations

from difflib import get_close_matches
from math import inf, nan

from tcomp.ir.dtypes import DTYPES, DType, boolean, f32, i64
from tcomp.ir.expressions import ZERO, Apply, Cast, Constant, Expr, Index, Load, Number, Ordinal, as_index, constant
from tcomp.ir.operators import OPERATORS, Operator
from tcomp.ir.parse.lexer import Cursor, Token
from tcomp.ir.walk import value_index

_INFIX: dict[str, Operator] = {row.infix: row for row in OPERATORS.values() if row.infix and row.arity == 2}
_PREFIX: dict[str, Operator] = {row.infix: row for row in OPERATORS.values() if row.infix and row.arity == 1}
_WORDS: dict[str, Number] = {"inf": inf, "nan": nan, "true": True, "false": False}


def suggest(name: str, known: list[str]) -> str:
    """A hint that names the nearest known words, or nothing."""
    near = get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""


def read_dtype(cursor: Cursor) -> DType:
    """Read the name of a dtype."""
    name = cursor.token
    dtype = DTYPES.get(cursor.expect_name("a dtype"))
    if dtype is None:
        cursor.fail(f"there is no dtype {name.text!r}", name, help=f"the dtypes are {', '.join(DTYPES)}")
    return dtype


def read_index(cursor: Cursor) -> Index:
    """Read an index."""
    total = _read_term(cursor)
    while cursor.token.text in ("+", "-"):
        sign = 1 if cursor.advance().text == "+" else -1
        total = total + _read_term(cursor) * sign
    return total


def read_index_list(cursor: Cursor) -> tuple[Index, ...]:
    """Read indices in brackets, possibly none."""
    cursor.expect("[")
    found: list[Index] = []
    while not cursor.is_next("]"):
        found.append(read_index(cursor))
        if not cursor.is_next("]"):
            cursor.expect(",", help="separate indices by commas and close with ']'")
    cursor.expect("]")
    return tuple(found)


def _read_term(cursor: Cursor) -> Index:
    product = _read_factor(cursor)
    while cursor.token.text in ("*", "//", "%"):
        operator = cursor.advance()
        right = _read_factor(cursor)
        if operator.text == "*":
            product = product * right
            continue
        if right.is_constant and right.constant <= 0:
            cursor.fail(f"{operator.text} by {right.constant}", operator, help="an index is divided by positive values only")
        product = product // right if operator.text == "//" else product % right
    return product


def _read_factor(cursor: Cursor) -> Index:
    if cursor.accept("-"):
        return ZERO - _read_factor(cursor)
    if cursor.accept("("):
        index = read_index(cursor)
        cursor.expect(")")
        return index
    if cursor.token.kind == "number":
        return as_index(cursor.expect_integer("an index"))
    if cursor.is_next("value", "("):
        cursor.advance()
        cursor.advance()
        expression = read_expression(cursor)
        cursor.expect(")")
        return value_index(expression)
    if cursor.text_of(1) == "[" and cursor.token.kind == "name":
        return value_index(_read_primary(cursor))
    if cursor.text_of(1) == "(" and cursor.token.kind == "name":
        help = f"a computed index is a value: value({cursor.token.text}(...))"
        cursor.fail(f"{cursor.token.text!r} is called in an index", help=help)
    return as_index(cursor.expect_name("an index"))


def read_expression(cursor: Cursor, precedence: int = 1) -> Expr:
    """Read an expression whose infix operators bind at least as tightly as `precedence`."""
    left = _read_unary(cursor)
    while cursor.token.kind == "mark":
        row = _INFIX.get(cursor.token.text)
        if row is None or row.precedence < precedence:
            break
        cursor.advance()
        left = Apply(row.name, (left, read_expression(cursor, row.precedence + 1)))
    return left


def _read_unary(cursor: Cursor) -> Expr:
    if cursor.is_next("-") and (cursor.kind_of(1) == "number" or cursor.text_of(1) in ("inf", "nan")):
        return _read_literal(cursor)
    row = _PREFIX.get(cursor.token.text) if cursor.token.kind == "mark" else None
    if row is None:
        return _read_primary(cursor)
    cursor.advance()
    return Apply(row.name, (_read_unary(cursor),))


def _read_primary(cursor: Cursor) -> Expr:
    token = cursor.token
    if token.kind == "number":
        return _read_literal(cursor)
    if cursor.accept("("):
        return _read_parenthesis(cursor)
    following = cursor.text_of(1)
    # A parenthesis after it begins the next statement: (a: f32, b: f32)[] = ...
    if token.text in _WORDS and following != "[":
        return _read_literal(cursor)
    name = cursor.expect_name("an expression")
    if following == "[":
        if name not in DTYPES:
            return Load(name, read_index_list(cursor))
        cursor.expect("[")
        index = read_index(cursor)
        cursor.expect("]")
        return Ordinal(index, DTYPES[name])
    if following != "(":
        cursor.fail(
            f"{name!r} is neither a load nor a call",
            token,
            help=f"load a tensor as {name}[...], or use a rank variable as a value as in i64[{name}]",
        )
    return _read_call(cursor, token)


def _read_parenthesis(cursor: Cursor) -> Expr:
    start = cursor.token
    inner = read_expression(cursor)
    if cursor.is_next("else"):
        if not isinstance(inner, Load) or inner.outside is not None:
            cursor.fail("'else' follows something that is not a load", help="only a load has an outside value: (X[i - 1] else 0)")
        if start.text == "(":
            cursor.fail("the parenthesis of 'else' holds the load alone", start, help="write (X[i - 1] else 0)")
        cursor.advance()
        inner = Load(inner.tensor, inner.index, _read_number(cursor))
    cursor.expect(")")
    return inner


def _read_call(cursor: Cursor, name: Token) -> Expr:
    cursor.expect("(")
    arguments: list[Expr] = []
    while not cursor.is_next(")"):
        arguments.append(read_expression(cursor))
        if not cursor.is_next(")"):
            cursor.expect(",", help="separate arguments by commas and close with ')'")
    cursor.expect(")")
    dtype = DTYPES.get(name.text)
    if dtype is not None:
        if len(arguments) != 1:
            cursor.fail(f"a conversion to {dtype} takes one argument, not {len(arguments)}", name)
        return Cast(dtype, arguments[0])
    row = OPERATORS.get(name.text)
    if row is None:
        cursor.fail(f"there is no operator {name.text!r}", name, help=suggest(name.text, [*OPERATORS, *DTYPES]))
    if len(arguments) != row.arity:
        cursor.fail(f"{row.name} takes {row.arity} argument{'s' * (row.arity > 1)}, not {len(arguments)}", name)
    return Apply(row.name, tuple(arguments))


def _read_number(cursor: Cursor) -> Number:
    sign = -1 if cursor.accept("-") else 1
    token = cursor.token
    if token.text in _WORDS and token.kind == "name" and (sign == 1 or token.text in ("inf", "nan")):
        cursor.advance()
        word = _WORDS[token.text]
        return word if sign == 1 else -word
    if token.kind != "number":
        cursor.fail(f"expected a literal, found {cursor.describe()}")
    cursor.advance()
    return sign * (int(token.text) if token.text.isdecimal() else float(token.text))


def _read_literal(cursor: Cursor) -> Constant:
    start = cursor.token
    value = _read_number(cursor)
    default = boolean if isinstance(value, bool) else i64 if isinstance(value, int) else f32
    if isinstance(value, bool) or not cursor.accept(":"):
        return constant(value, default)
    dtype = read_dtype(cursor)
    if isinstance(value, float) and not dtype.is_float:
        cursor.fail(f"the literal {value!r} is no {dtype}", start, help=f"write a whole number: {value:.0f}:{dtype}")
    if dtype == boolean:
        cursor.fail("a bool literal is true or false", start)
    return constant(value, dtype)
