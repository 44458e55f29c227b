"""The parser of schedules, whose grammar `tcomp.ir.schedule` states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from tcomp.ir.expressions import Index
from tcomp.ir.parse.expressions import read_index
from tcomp.ir.parse.lexer import Cursor
from tcomp.ir.schedule import CpuLaunch, Fate, GpuLaunch, GroupSchedule, KernelSchedule, Launch, Packing, Schedule

Clause: TypeAlias = tuple[str | int, ...]
"""A place in a schedule: the word of a line, and which of those lines or which tensor; for kernels the clause may follow.

Of a prelude it starts with "prelude": ("prelude", "kernel", 3, "tile"), ("pack", "mm"), ("address", "mm").
"""

FATES: Mapping[str, Fate] = {"sink": "sink", "parts": "parts", "apart": "apart"}


def parse_schedule(text: str) -> Schedule:
    """Parse a schedule: `parse_schedule(str(s)) == s`. Raises ParseError with line, column and a caret."""
    (schedule, _), *more = parse_schedules(text)
    if more:
        cursor = Cursor(text)
        cursor.position = more[0][1][()]
        cursor.fail("there is a second schedule", help="give one schedule")
    return schedule


def parse_schedules(text: str) -> tuple[tuple[Schedule, Mapping[Clause, int]], ...]:
    """Parse one schedule or several after one another, each with the number of the token at which its clauses start.

    Raises ParseError with line, column and a caret.
    """
    cursor = Cursor(text)
    found = [_read_schedule(cursor)]
    while cursor.token.kind != "end":
        found.append(_read_schedule(cursor))
    return tuple(found)


def show_clause(text: str, places: Mapping[Clause, int], clause: Clause) -> str:
    """The line of a text in which a clause is, with a caret under it; that of the kernel if the kernel has no such clause."""
    cursor = Cursor(text)
    while clause and clause not in places:
        clause = clause[:-1]
    return cursor.show(places[clause])


@dataclass
class _Reader:
    """The lines of a schedule, or of its prelude, being read."""

    cursor: Cursor
    places: dict[Clause, int]
    inside: Clause = ()
    kernels: list[KernelSchedule] = field(default_factory=list)
    layouts: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    addresses: list[tuple[str, Index]] = field(default_factory=list)
    groups: list[GroupSchedule] = field(default_factory=list)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    packings: list[Packing] = field(default_factory=list)
    arena: Index | None = None
    prelude: Schedule | None = None

    def read(self) -> Schedule:
        """Read lines until the bracket closes."""
        cursor = self.cursor
        readers = {"kernel": self._kernel, "layout": self._layout, "address": self._address, "group": self._group, "arena": self._arena}
        readers |= {} if self.inside else {"prelude": self._prelude, "pack": self._pack}
        lists = ("wide", "hold", "again", *(() if self.inside else ("expand", "prologue")))
        while not cursor.accept("}"):
            word, start = cursor.token.text, cursor.position
            if word not in readers and word not in lists:
                known = ", ".join(sorted((*readers, *lists)))
                cursor.fail(f"unexpected {cursor.describe()}", help=f"a line of a schedule starts with one of {known}")
            cursor.advance()
            if word in lists:
                self._note(start, word)
                self.names[word] = (*self.names.get(word, ()), *_read_names(cursor, "a tensor"))
            else:
                readers[word](start)
        return Schedule(
            tuple(self.kernels),
            tuple(self.layouts),
            tuple(self.addresses),
            groups=tuple(self.groups),
            wide=self.names.get("wide", ()),
            held=self.names.get("hold", ()),
            again=self.names.get("again", ()),
            arena=self.arena,
            expanded=self.names.get("expand", ()),
            prologues=self.names.get("prologue", ()),
            packings=tuple(self.packings),
            prelude=self.prelude,
        )

    def _note(self, start: int, *clause: str | int) -> None:
        self.places.setdefault((*self.inside, *clause), start)

    def _kernel(self, start: int) -> None:
        place: Clause = (*self.inside, "kernel", len(self.kernels))
        self.places[place] = start
        self.kernels.append(_read_kernel(self.cursor, place, self.places))

    def _layout(self, start: int) -> None:
        tensor = self.cursor.expect_name("a tensor")
        self._note(start, "layout", tensor)
        self.layouts.append((tensor, self.cursor.read_list("(", ")", lambda c: c.expect_integer("a dimension"))))

    def _address(self, start: int) -> None:
        tensor = self.cursor.expect_name("a tensor")
        self._note(start, "address", tensor)
        self.addresses.append((tensor, read_index(self.cursor)))

    def _arena(self, start: int) -> None:
        if self.arena is not None:
            self.cursor.fail("the arena is given twice", self.cursor.tokens[start], help="keep one of them")
        self._note(start, "arena")
        self.arena = read_index(self.cursor)

    def _group(self, start: int) -> None:
        cursor = self.cursor
        self._note(start, "group", len(self.groups))
        einsums = _read_names(cursor, "an einsum")
        fate = FATES.get(cursor.token.text)
        if fate is None:
            cursor.fail(f"unexpected {cursor.describe()}", help=f"say what becomes of the group: one of {', '.join(FATES)}")
        cursor.advance()
        self.groups.append(GroupSchedule(einsums, fate, _read_one_tile(cursor) if fate == "parts" else None))

    def _pack(self, start: int) -> None:
        einsum = self.cursor.expect_name("a contraction")
        self._note(start, "pack", einsum)
        self.packings.append(Packing(einsum, *_read_one_tile(self.cursor)))

    def _prelude(self, start: int) -> None:
        self._note(start, "prelude")
        self.cursor.expect("{")
        self.prelude = _Reader(self.cursor, self.places, (*self.inside, "prelude")).read()


def _read_schedule(cursor: Cursor) -> tuple[Schedule, Mapping[Clause, int]]:
    places: dict[Clause, int] = {(): cursor.position}
    cursor.expect("schedule", help='a schedule starts: schedule for "target" {')
    cursor.expect("for")
    places["for",] = cursor.position
    target = cursor.expect_string("the target")
    cascade = ""
    if cursor.accept("of"):
        places["of",] = cursor.position
        cascade = cursor.expect_string("the digest of a cascade")
    cursor.expect("{")
    schedule = _Reader(cursor, places).read()
    prelude = schedule.prelude
    return replace(schedule, target=target, cascade=cascade, prelude=prelude and replace(prelude, target=target)), places


def _read_kernel(cursor: Cursor, place: Clause, places: dict[Clause, int]) -> KernelSchedule:
    name = cursor.expect_name("a kernel")
    cursor.expect("=")
    kind = cursor.expect_name("a kind of kernel")
    einsums, parts = _read_parts(cursor)
    found: dict[str, Any] = {}

    def clause(word: str) -> bool:
        start = cursor.position
        if not cursor.accept(word):
            return False
        places[(*place, word)] = start
        return True

    if clause("steps"):
        found["steps"] = _read_steps(cursor)
    if clause("registers"):
        found["registers"] = cursor.expect_integer("the number of elements")
    joined: list[tuple[str, tuple[str, ...]]] = []
    while clause("join"):
        joined.append((cursor.expect_name("the joint rank"), _read_names(cursor, "a rank")))
    for word, key in (("tile", "tiles"), ("order", "order"), ("parallel", "parallel")):
        if clause(word):
            found[key] = cursor.read_list("(", ")", _read_tile) if word == "tile" else _read_names(cursor, "a rank")
    if clause("lanes"):
        found["lanes"] = cursor.expect_name("a rank")
    if clause("partial"):
        found["partial"] = cursor.read_list("(", ")", _read_tile)
    launch: Launch = CpuLaunch(_read_names(cursor, "an operand")) if clause("prefetch") else CpuLaunch()
    instances = cursor.expect_integer("the number of instances") if clause("instances") else 0
    # The next line may be that of a group.
    is_clause = cursor.is_next("group") and cursor.text_of(1) != "("
    group = cursor.expect_integer("the tiles of a group") if is_clause and clause("group") else 0
    if clause("warps"):
        warps = cursor.expect_integer("the number of warps")
        cursor.expect("stages")
        launch = GpuLaunch(warps, cursor.expect_integer("the number of stages"), instances, group)
    elif instances or group:
        cursor.fail(f"expected 'warps', found {cursor.describe()}", help="instances and groups are those of a GPU: give warps and stages")
    return KernelSchedule(name, einsums, kind, launch=launch, joined=tuple(joined), is_library=clause("library"), parts=parts, **found)


def _read_parts(cursor: Cursor) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The einsums of a kernel, and how many each part has if there are several."""
    cursor.expect("(")
    names: list[str] = []
    counts: list[int] = []
    if not cursor.accept(")"):
        names.append(cursor.expect_name("an einsum"))
        counts.append(1)
        while not cursor.accept(")"):
            if cursor.accept("|"):
                counts.append(0)
            else:
                cursor.expect(",")
            names.append(cursor.expect_name("an einsum"))
            counts[-1] += 1
    return tuple(names), tuple(counts) if len(counts) > 1 else ()


def _read_steps(cursor: Cursor) -> tuple[int, int]:
    first = cursor.expect_integer("the first step")
    cursor.expect("..", help="give the first step and the one behind the last: steps 0 .. 32")
    return first, cursor.expect_integer("the step behind the last")


def _read_names(cursor: Cursor, what: str) -> tuple[str, ...]:
    return cursor.read_list("(", ")", lambda c: c.expect_name(what))


def _read_one_tile(cursor: Cursor) -> tuple[str, int]:
    cursor.expect("(")
    tile = _read_tile(cursor)
    cursor.expect(")")
    return tile


def _read_tile(cursor: Cursor) -> tuple[str, int]:
    rank = cursor.expect_name("a rank")
    cursor.expect(":", help=f"give the size of the tile: {rank}:8")
    return rank, cursor.expect_integer("the size of a tile")
