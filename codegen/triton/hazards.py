"""Where the threads of an instance have to wait for one another: between a write to memory and what else touches the same elements.

The threads that share an instance do not run in step, and who loads an element need not be who stores it. So a statement needs a
barrier before it if it touches elements that another statement since the last barrier touched, in this step of the loops around
or in one before, unless both only read. Elements are told apart by their indices where ranges allow it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from tcomp.ir.cascade import Symbol
from tcomp.ir.expressions import Index, as_index
from tcomp.ir.index import Bounds, interval, is_data
from tcomp.ir.tile import Argument, Assign, Axis, Block, Buffer, Kernel, Loop, Scan, TileStatement
from tcomp.ir.tile_scope import Site
from tcomp.ir.walk import substitute_index

Path: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nested:
    """A loop and its place in the nest, which tells it from another one that looks the same."""

    path: Path
    loop: Loop

    @property
    def variable(self) -> str:
        """The loop's variable."""
        return self.loop.variable


@dataclass(frozen=True, slots=True)
class Access:
    """Elements of a tensor that a statement touches. `carried` is the outermost loop of which it happened in an earlier step."""

    tensor: str
    index: tuple[Index, ...]
    axes: tuple[Axis, ...]
    loops: tuple[Nested, ...]
    writes: bool
    carried: Nested | None = None


@dataclass(frozen=True, slots=True)
class Barriers:
    """The statements, by their places in the nest, before which threads wait; `within` those that wait before they store."""

    before: frozenset[Path]
    within: frozenset[Path]


def find_barriers(kernel: Kernel) -> Barriers:
    """The barriers that a kernel needs."""
    finder = _Finder(kernel)
    finder.body(kernel.body, (), {a.name: a for a in kernel.arguments}, (), frozenset())
    return Barriers(frozenset(finder.before), frozenset(finder.within))


Places: TypeAlias = dict[str, Argument | Buffer | Block]
Open: TypeAlias = frozenset[Access]


class _Finder:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.before: set[Path] = set()
        self.within: set[Path] = set()

    def body(self, body: tuple[TileStatement, ...], path: Path, places: Places, loops: tuple[Nested, ...], touched: Open) -> Open:
        """What has been touched since the last barrier when a body ends, given what had been when it began."""
        places = dict(places)
        for position, statement in enumerate(body):
            place = (*path, position)
            match statement:
                case Loop():
                    touched = self._loop(statement, place, places, loops, touched)
                case Buffer() | Block():
                    places[statement.name] = statement
                case Scan():
                    touched = self._assign(statement.as_map, place, places, loops, touched)
                case Assign():
                    touched = self._assign(statement, place, places, loops, touched)
        return touched

    def _loop(self, loop: Loop, path: Path, places: Places, loops: tuple[Nested, ...], touched: Open) -> Open:
        """The first step finds what was touched before the loop, and each later one also what the step before it touched."""
        mine = Nested(path, loop)
        inside = (*loops, mine)
        if loop.kind == "parallel":
            return self.body(loop.body, path, places, inside, touched)
        entry = touched
        while True:
            end = self.body(loop.body, path, places, inside, entry)
            carried = frozenset(replace(access, carried=mine) if mine in access.loops else access for access in end)
            if carried <= entry:
                return entry | end
            entry |= carried

    def _assign(self, assign: Assign, path: Path, places: Places, loops: tuple[Nested, ...], touched: Open) -> Open:
        written = [a.name for a in self.kernel.arguments if a.role != "in"]
        shared = {name for name, place in places.items() if isinstance(place, Buffer) or name in written}
        site = Site(self.kernel, assign, places, tuple(nested.loop for nested in loops))
        reads = {Access(load.tensor, load.index, site.axes, loops, False) for load in site.reads() if load.tensor in shared}
        if assign.target not in shared:
            writes = set[Access]()
        else:
            writes = {Access(assign.target, assign.index, site.axes, loops, True)}
            if assign.merge is not None and not assign.is_atomic:
                reads.add(Access(assign.target, assign.index, site.axes, loops, False))
        is_update = any(access.tensor == assign.target for access in reads)
        pending = {access for access in touched if access.writes}
        if path in self.before or self._meet(pending, reads) or (not is_update and self._meet(touched, writes)):
            self.before.add(path)
            touched = frozenset()
        if is_update and writes:
            self.within.add(path)
            touched = frozenset()
            reads = set()
        return touched | reads | writes

    def _meet(self, earlier: frozenset[Access] | set[Access], later: set[Access]) -> bool:
        return any(a.tensor == b.tensor and not self._is_apart(a, b) for a in earlier for b in later)

    def _is_apart(self, earlier: Access, later: Access) -> bool:
        """Whether two accesses of one tensor are proved to touch different elements."""
        common = [nested for nested in earlier.loops if nested in later.loops]
        if earlier.carried is not None:
            common = common[: common.index(earlier.carried)] if earlier.carried in common else []
        ranges = _Ranges(self.kernel.symbols)
        for nested in common:
            ranges.add_loop(nested, nested.variable, {})
        before = _rename(earlier, common, "<", ranges)
        after = _rename(later, common, ">", ranges)
        if earlier.carried is not None:
            after[earlier.carried.variable] = before[earlier.carried.variable] + as_index("later#")
            ranges.symbols["later#"] = (earlier.carried.loop.step, None)
        bounds = ranges.bounds()
        return any(_differ(substitute_index(a, before), substitute_index(b, after), bounds) for a, b in _pairs(earlier, later))


def _rename(access: Access, common: list[Nested], mark: str, ranges: _Ranges) -> dict[str, Index]:
    """Names of an access's own for its axes and for the loops that it does not share, with their ranges noted."""
    names: dict[str, Index] = {}
    for nested in access.loops:
        if nested not in common:
            ranges.add_loop(nested, nested.variable + mark, names)
            names[nested.variable] = as_index(nested.variable + mark)
    for axis in access.axes:
        names[axis.name] = as_index(axis.name + mark)
        ranges.extents[axis.name + mark] = as_index(axis.size)
    return names


def _pairs(earlier: Access, later: Access) -> list[tuple[Index, Index]]:
    return [(a, b) for a, b in zip(earlier.index, later.index) if not is_data(a) and not is_data(b)]


def _differ(a: Index, b: Index, bounds: Bounds) -> bool:
    low, high = interval(b - a, bounds)
    return (low is not None and low > 0) or (high is not None and high < 0)


class _Ranges:
    """Ranges of variables, under the names that keep two accesses apart."""

    def __init__(self, symbols: tuple[Symbol, ...]) -> None:
        self.extents: dict[str, Index] = {}
        self.symbols: dict[str, tuple[int | None, int | None]] = {s.name: (s.low, s.high) for s in symbols}

    def add_loop(self, nested: Nested, name: str, renamed: dict[str, Index]) -> None:
        """Note the range of a loop's variable under another name, the loops around it being renamed too."""
        low, _ = interval(substitute_index(nested.loop.start, renamed), self.bounds())
        _, high = interval(substitute_index(nested.loop.stop, renamed), self.bounds())
        self.symbols[name] = low, None if high is None else high - 1

    def bounds(self) -> Bounds:
        """The ranges as the index algebra takes them."""
        return Bounds(self.extents, self.symbols)
