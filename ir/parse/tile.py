"""Reads the text of tile programs back: `parse_kernel(str(k)) == k`. The grammar is in `tcomp.ir.tile`.

Raises ParseError with line, column and a caret. What was read is well formed, not yet verified.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from tcomp.ir.monoids import MONOIDS
from tcomp.ir.parse.cascade import read_symbols
from tcomp.ir.parse.expressions import read_dtype, read_expression, read_index, read_index_list, suggest
from tcomp.ir.parse.lexer import Cursor
from tcomp.ir.tile import Argument, Assign, Axis, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement, contiguous_strides

Role: TypeAlias = Literal["in", "out", "inout"]
ROLES: dict[str, Role] = {"in": "in", "out": "out", "inout": "inout"}


def parse_kernel(text: str) -> Kernel:
    """Parse a tile program, as `print_kernel` prints it."""
    cursor = Cursor(text)
    cursor.expect("kernel", help="a tile program starts: kernel NAME(arguments) {")
    name = cursor.expect_name("the kernel's name")
    arguments = cursor.read_list("(", ")", _read_argument)
    symbols = read_symbols(cursor)
    warps = stages = 0
    if cursor.accept("warps"):
        warps = cursor.expect_integer("the number of warps")
        cursor.expect("stages")
        stages = cursor.expect_integer("the number of stages")
    body = _read_body(cursor)
    cursor.expect_end()
    return Kernel(name, arguments, body, symbols, warps, stages)


def _read_argument(cursor: Cursor) -> Argument:
    role = ROLES.get(cursor.token.text)
    if role is None:
        cursor.fail(f"expected an argument, found {cursor.describe()}", help="write its role first: in X: f32[8, 8]")
    cursor.advance()
    name = cursor.expect_name("an argument")
    cursor.expect(":", help=f"give the argument's dtype: {name}: f32[...]")
    dtype = read_dtype(cursor)
    shape = read_index_list(cursor)
    strides = contiguous_strides(shape)
    if cursor.accept("strides"):
        strides = cursor.read_list("(", ")", read_index)
    return Argument(name, dtype, shape, strides, role)


def _read_body(cursor: Cursor) -> tuple[TileStatement, ...]:
    cursor.expect("{")
    statements: list[TileStatement] = []
    while not cursor.accept("}"):
        statements.append(_read_statement(cursor))
    return tuple(statements)


def _read_statement(cursor: Cursor) -> TileStatement:
    # A keyword is followed by a name, a target by its index: so memory may be called "block".
    if cursor.kind_of(1) == "name":
        match cursor.token.text:
            case "parallel" | "for":
                return _read_loop(cursor)
            case "buffer":
                return _read_buffer(cursor)
            case "block":
                return _read_block(cursor)
            case "scan":
                return _read_scan(cursor)
            case "prefetch":
                cursor.advance()
                return Prefetch(cursor.expect_name("the memory to prefetch"), read_index_list(cursor))
    return _read_assign(cursor)


def _read_loop(cursor: Cursor) -> Loop:
    kind = cursor.advance().text
    variable = cursor.expect_name("a loop variable")
    cursor.expect("in", help=f"give its range: {kind} {variable} in 0 .. 8 {{")
    start = read_index(cursor)
    cursor.expect("..")
    stop = read_index(cursor)
    step = cursor.expect_integer("a step") if cursor.accept("step") else 1
    return Loop("parallel" if kind == "parallel" else "for", variable, stop, _read_body(cursor), start, step)


def _read_buffer(cursor: Cursor) -> Buffer:
    cursor.advance()
    name = cursor.expect_name("a buffer")
    cursor.expect(":")
    dtype = read_dtype(cursor)
    return Buffer(name, dtype, cursor.read_list("[", "]", lambda c: c.expect_integer("a buffer's extent")))


def _read_block(cursor: Cursor) -> Block:
    cursor.advance()
    name = cursor.expect_name("a block")
    cursor.expect(":")
    return Block(name, read_dtype(cursor), cursor.read_list("[", "]", _read_axis))


def _read_axis(cursor: Cursor) -> Axis:
    name = cursor.expect_name("an axis")
    cursor.expect(":", help=f"give the axis its size: {name}:8")
    size = cursor.expect_integer("the size of an axis")
    return Axis(name, size, read_index(cursor) if cursor.accept("<") else None)


def _read_assign(cursor: Cursor) -> Assign:
    target = cursor.expect_name("a statement")
    index = read_index_list(cursor)
    cursor.expect("over", help="name the axes of the statement: Y[i] over (i:8) = ...")
    axes = cursor.read_list("(", ")", _read_axis)
    is_atomic = cursor.accept("atomic")
    merge = None if cursor.is_next("=") else _read_monoid(cursor)
    cursor.expect("=")
    reduce: str | None = None
    reduced: tuple[Axis, ...] = ()
    if _is_reduction(cursor):
        reduce = _read_monoid(cursor)
        reduced = cursor.read_list("(", ")", _read_axis)
    expression = read_expression(cursor)
    where = read_expression(cursor) if cursor.accept("where") else None
    return Assign(target, index, axes, expression, merge, reduce, reduced, where, is_atomic)


def _read_scan(cursor: Cursor) -> Scan:
    cursor.advance()
    target = cursor.expect_name("the block of a scan")
    cursor.expect("over", help="name the axes of the statement: scan S over (i:8) = sum(i) X[i]")
    axes = cursor.read_list("(", ")", _read_axis)
    cursor.expect("=")
    monoid = _read_monoid(cursor)
    cursor.expect("(")
    along = cursor.expect_name("the axis to scan along")
    cursor.expect(")")
    return Scan(target, axes, monoid, along, read_expression(cursor))


def _is_reduction(cursor: Cursor) -> bool:
    """Whether `sum(k:8)` comes next, told from a call by the axis: a name with a colon, and not the literal inf:f64."""
    has_axis = cursor.kind_of(2) == "name" and cursor.text_of(2) not in ("inf", "nan") and cursor.text_of(3) == ":"
    return cursor.kind_of(0) == "name" and cursor.text_of(1) == "(" and has_axis


def _read_monoid(cursor: Cursor) -> str:
    name = cursor.token
    if name.text not in MONOIDS:
        known = list(MONOIDS)
        cursor.fail(f"there is no monoid {name.text!r}", help=suggest(name.text, known) or f"there are {', '.join(known)}")
    return cursor.advance().text
