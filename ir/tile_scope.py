"""The assigns of a tile program, each with what it can see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tcomp.ir.dtypes import DType
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Index, Load, as_index
from tcomp.ir.tile import Argument, Assign, Axis, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement, print_assign
from tcomp.ir.walk import loads, variables

Place: TypeAlias = Argument | Buffer | Block


@dataclass(frozen=True, slots=True)
class Site:
    """An assign of a kernel with the memory it can see, by name, and the loops around it, outermost first."""

    kernel: Kernel
    assign: Assign
    places: dict[str, Place]
    loops: tuple[Loop, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All axes of the statement: those it writes over, then the reduced ones."""
        return self.assign.axes + self.assign.reduced

    def reads(self) -> list[Load]:
        """Every load of the statement, those of the target's index included."""
        assign = self.assign
        return loads(self.store)[1:] + loads(assign.expression) + (loads(assign.where) if assign.where is not None else [])

    @property
    def store(self) -> Load:
        """Where the statement writes, in the form of a load."""
        return Load(self.assign.target, self.assign.index)

    def variables(self) -> set[str]:
        """Every variable that the statement's indices use."""
        assign = self.assign
        names = variables(self.store) | variables(assign.expression)
        return names | (variables(assign.where) if assign.where is not None else set())

    def dtypes(self) -> dict[str, DType]:
        """The element type of every name in scope."""
        return {name: place.dtype for name, place in self.places.items()}

    def fault(self, what: str, help: str = "") -> VerifyError:
        """An error about this statement."""
        return VerifyError(what, where=print_assign(self.assign), help=help)


def find_sites(kernel: Kernel) -> list[Site]:
    """Every assign of a kernel, in order."""

    def visit(body: tuple[TileStatement, ...], places: dict[str, Place], loops: tuple[Loop, ...]) -> Iterator[Site]:
        for statement in body:
            match statement:
                case Loop():
                    yield from visit(statement.body, places, (*loops, statement))
                case Buffer() | Block():
                    places = places | {statement.name: statement}
                case Prefetch():
                    pass
                case Scan():
                    yield Site(kernel, statement.as_map, places, loops)
                case Assign():
                    yield Site(kernel, statement, places, loops)

    return list(visit(kernel.body, {a.name: a for a in kernel.arguments}, ()))


def place_shape(place: Place) -> tuple[Index, ...]:
    """The extents of a place; those of a block are its axes' sizes."""
    match place:
        case Argument():
            return place.shape
        case Buffer():
            return tuple(map(as_index, place.shape))
        case Block():
            return tuple(as_index(axis.size) for axis in place.axes)
