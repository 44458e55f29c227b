"""The parser of schedules, whose grammar `tcomp.ir.schedule` states."""

from __future__ import annotations

from tcomp.ir.expressions import Index
from tcomp.ir.parse.expressions import read_index
from tcomp.ir.parse.lexer import Cursor
from tcomp.ir.schedule import KERNEL_KINDS, KernelSchedule, Schedule


def parse_schedule(text: str) -> Schedule:
    """Parse a schedule: `parse_schedule(str(s)) == s`. Raises ParseError with line, column and a caret."""
    cursor = Cursor(text)
    cursor.expect("schedule", help='a schedule starts: schedule for "target" {')
    cursor.expect("for")
    target = cursor.expect_string("the target")
    cursor.expect("{")
    kernels: list[KernelSchedule] = []
    layouts: list[tuple[str, tuple[int, ...]]] = []
    addresses: list[tuple[str, Index]] = []
    while not cursor.accept("}"):
        if cursor.accept("kernel"):
            kernels.append(_read_kernel(cursor))
        elif cursor.accept("layout"):
            tensor = cursor.expect_name("a tensor")
            layouts.append((tensor, cursor.read_list("(", ")", lambda c: c.expect_integer("a dimension"))))
        elif cursor.accept("address"):
            addresses.append((cursor.expect_name("a tensor"), read_index(cursor)))
        else:
            cursor.fail(f"unexpected {cursor.describe()}", help="a line of a schedule starts with kernel, layout or address")
    cursor.expect_end()
    return Schedule(tuple(kernels), tuple(layouts), tuple(addresses), target)


def _read_kernel(cursor: Cursor) -> KernelSchedule:
    name = cursor.expect_name("a kernel")
    cursor.expect("=")
    kind = KERNEL_KINDS.get(cursor.token.text)
    if kind is None:
        cursor.fail(f"there is no kind of kernel {cursor.token.text!r}", help=f"the kinds are {', '.join(KERNEL_KINDS)}")
    cursor.advance()
    einsums = cursor.read_list("(", ")", lambda c: c.expect_name("an einsum"))
    steps = _read_steps(cursor) if cursor.accept("steps") else None
    joined: list[tuple[str, tuple[str, ...]]] = []
    while cursor.accept("join"):
        joined.append((cursor.expect_name("the joint rank"), _read_ranks(cursor)))
    tiles = cursor.read_list("(", ")", _read_tile) if cursor.accept("tile") else ()
    order = _read_ranks(cursor) if cursor.accept("order") else ()
    parallel = _read_ranks(cursor) if cursor.accept("parallel") else ()
    lanes = cursor.expect_name("a rank") if cursor.accept("lanes") else None
    partial = cursor.read_list("(", ")", _read_tile) if cursor.accept("partial") else ()
    prefetch = cursor.read_list("(", ")", lambda c: c.expect_name("an operand")) if cursor.accept("prefetch") else ()
    instances = cursor.expect_integer("the number of instances") if cursor.accept("instances") else 0
    group = cursor.expect_integer("the tiles of a group") if cursor.accept("group") else 0
    warps = stages = 0
    if cursor.accept("warps"):
        warps = cursor.expect_integer("the number of warps")
        cursor.expect("stages")
        stages = cursor.expect_integer("the number of stages")
    return KernelSchedule(
        name,
        einsums,
        kind,
        tiles,
        order,
        parallel,
        lanes,
        prefetch,
        tuple(joined),
        instances,
        group,
        warps,
        stages,
        cursor.accept("library"),
        partial,
        steps,
    )


def _read_steps(cursor: Cursor) -> tuple[int, int]:
    first = cursor.expect_integer("the first step")
    cursor.expect("..", help="give the first step and the one behind the last: steps 0 .. 32")
    return first, cursor.expect_integer("the step behind the last")


def _read_ranks(cursor: Cursor) -> tuple[str, ...]:
    return cursor.read_list("(", ")", lambda c: c.expect_name("a rank"))


def _read_tile(cursor: Cursor) -> tuple[str, int]:
    rank = cursor.expect_name("a rank")
    cursor.expect(":", help=f"give the size of the tile: {rank}:8")
    return rank, cursor.expect_integer("the size of a tile")
