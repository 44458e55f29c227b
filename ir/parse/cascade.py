"""Reads the text of cascades back: `parse_cascade(str(c)) == c`. The grammar is in `tcomp.ir.cascade` and `tcomp.ir.expressions`.

Each function raises ParseError with line, column and a caret. What was read is well formed, not yet verified.
"""

from __future__ import annotations

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Source, Statement, Symbol, Tensor
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Expr, Index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.parse.expressions import read_dtype, read_expression, read_index, read_index_list, suggest
from tcomp.ir.parse.lexer import Cursor


def parse_cascade(text: str) -> Cascade:
    """Parse a cascade; each einsum's source is its line in the text."""
    cursor = Cursor(text)
    cascade = _read_cascade(cursor)
    cursor.expect_end()
    return cascade


def parse_einsum(text: str) -> Einsum:
    """Parse one einsum, as `print_einsum` prints it."""
    cursor = Cursor(text)
    einsum = _read_einsum(cursor)
    cursor.expect_end()
    return einsum


def parse_expression(text: str) -> Expr:
    """Parse a scalar expression."""
    cursor = Cursor(text)
    expression = read_expression(cursor)
    cursor.expect_end()
    return expression


def parse_index(text: str) -> Index:
    """Parse an index."""
    cursor = Cursor(text)
    index = read_index(cursor)
    cursor.expect_end()
    return index


def _read_cascade(cursor: Cursor) -> Cascade:
    cursor.expect("cascade", help="a cascade starts: cascade NAME(inputs) -> (outputs) {")
    name = cursor.expect_name("the cascade's name")
    inputs: list[Tensor] = []
    cursor.expect("(")
    while not cursor.is_next(")"):
        inputs.append(_read_parameter(cursor))
        if not cursor.is_next(")"):
            cursor.expect(",", help="separate inputs by commas and close with ')'")
    cursor.expect(")")
    cursor.expect("->", help="name the outputs: -> (Y)")
    outputs: list[str] = []
    cursor.expect("(")
    while not cursor.is_next(")"):
        outputs.append(cursor.expect_name("an output"))
        if not cursor.is_next(")"):
            cursor.expect(",", help="separate outputs by commas and close with ')'")
    cursor.expect(")")
    symbols = read_symbols(cursor)
    cursor.expect("{")
    statements: list[Statement] = []
    while not cursor.accept("}"):
        statements.append(_read_iteration(cursor) if cursor.is_next("iterate") else _read_einsum(cursor))
    return Cascade(name, tuple(inputs), tuple(statements), tuple(outputs), symbols)


def _read_parameter(cursor: Cursor) -> Tensor:
    weight = cursor.is_next("weight") and cursor.kind_of(1) == "name"
    if weight:
        cursor.advance()
    name = cursor.expect_name("an input")
    cursor.expect(":")
    return Tensor(name, read_dtype(cursor), read_index_list(cursor), weight)


def read_symbols(cursor: Cursor) -> tuple[Symbol, ...]:
    """Read the clause `for N in 2..64, M in 1..`, if it is there."""
    symbols: list[Symbol] = []
    if not cursor.accept("for"):
        return ()
    while True:
        name = cursor.expect_name("a symbol")
        cursor.expect("in")
        low = cursor.expect_integer("the smallest size")
        cursor.expect("..", help="give a range: N in 1..64, or N in 1.. without an end")
        high = cursor.expect_integer("the largest size") if cursor.kind_of(0) == "number" else None
        symbols.append(Symbol(name, low, high))
        if not cursor.accept(","):
            return tuple(symbols)


def _read_rank(cursor: Cursor) -> Rank:
    name = cursor.expect_name("a rank variable")
    cursor.expect(":", help=f"give the rank's extent: {name}:N")
    return Rank(name, read_index(cursor))


def _read_iteration(cursor: Cursor) -> Iteration:
    cursor.expect("iterate")
    rank = _read_rank(cursor)
    cursor.expect("{")
    body: list[Einsum] = []
    while not cursor.accept("}"):
        body.append(_read_einsum(cursor))
    return Iteration(rank, tuple(body))


def _read_einsum(cursor: Cursor) -> Einsum:
    source = Source(line=f"line {cursor.line()}")
    targets: list[tuple[str, DType]] = []
    several = cursor.accept("(")
    while True:
        name = cursor.expect_name("a target")
        cursor.expect(":", help=f"give the target's dtype: {name}: f32[...] = ...")
        targets.append((name, read_dtype(cursor)))
        if not several or not cursor.accept(","):
            break
    if several:
        cursor.expect(")")
    index: list[Index] = []
    shape: list[Index] = []
    cursor.expect("[")
    while not cursor.is_next("]"):
        index.append(read_index(cursor))
        cursor.expect(":", help="a slot is index:extent, as in p:P")
        shape.append(read_index(cursor))
        if not cursor.is_next("]"):
            cursor.expect(",", help="separate slots by commas and close with ']'")
    cursor.expect("]")
    cursor.expect("=")
    reduce, reduced = _read_reduction(cursor)
    expression = read_expression(cursor)
    where = read_expression(cursor) if cursor.accept("where") else None
    initial = read_expression(cursor) if cursor.accept("from") else None
    return Einsum(tuple(targets), tuple(index), tuple(shape), expression, reduce, reduced, where, initial, source)


def _read_reduction(cursor: Cursor) -> tuple[str | None, tuple[Rank, ...]]:
    """Read `sum(m:M)`, told from a call by its ranks: a name with a colon (not `inf:f64`), or nothing in the parentheses."""
    has_rank = cursor.kind_of(2) == "name" and cursor.text_of(2) not in ("inf", "nan") and cursor.text_of(3) == ":"
    is_reduction = cursor.text_of(1) == "(" and (cursor.text_of(2) == ")" or has_rank)
    if cursor.token.kind != "name" or not is_reduction:
        return None, ()
    name = cursor.token
    if name.text not in MONOIDS:
        hint = suggest(name.text, list(MONOIDS)) or f"the monoids are {', '.join(MONOIDS)}"
        cursor.fail(f"there is no monoid {name.text!r}", help=hint)
    cursor.advance()
    cursor.expect("(")
    ranks: list[Rank] = []
    while not cursor.is_next(")"):
        ranks.append(_read_rank(cursor))
        if not cursor.is_next(")"):
            cursor.expect(",", help="separate ranks by commas and close with ')'")
    cursor.expect(")")
    return name.text, tuple(ranks)
