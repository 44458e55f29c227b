"""Reads the text of plans back: `parse_plan(str(p)) == p`. The grammar is in `tcomp.ir.plan`."""

from __future__ import annotations

from tcomp.ir.parse.cascade import read_symbols
from tcomp.ir.parse.expressions import read_index
from tcomp.ir.parse.lexer import Cursor
from tcomp.ir.plan import Place, Plan, Step


def parse_plan(text: str) -> Plan:
    """Parse a plan; raises ParseError with line, column and a caret."""
    cursor = Cursor(text)
    cursor.expect("plan", help="a plan starts: plan (externals) arena BYTES {")
    externals = cursor.read_list("(", ")", lambda c: c.expect_name("an external tensor"))
    cursor.expect("arena", help="give the size of the arena in bytes: arena 4096")
    arena = read_index(cursor)
    symbols = read_symbols(cursor)
    cursor.expect("{")
    steps: list[Step] = []
    while not cursor.accept("}"):
        steps.append(_read_step(cursor))
    cursor.expect_end()
    return Plan(externals, arena, tuple(steps), symbols)


def _read_step(cursor: Cursor) -> Step:
    kernel = cursor.expect_name("a kernel")
    return Step(kernel, cursor.read_list("(", ")", _read_place))


def _read_place(cursor: Cursor) -> Place:
    base = cursor.expect_name("an external tensor or arena")
    cursor.expect("+", help=f"give the offset in bytes: {base} + 0")
    return Place(base, read_index(cursor))
