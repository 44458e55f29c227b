"""Splitting off tails, so that a limit which holds everywhere but at the end costs nothing elsewhere.

    for k in 0 .. 100 step 32 { ... over (k.0:32 < 100 - k) ... }
        =>  while 100 - k >= 32 { ... over (k.0:32) ... }   then   while k < 100 { ... over (k.0:4) ... }

A tail whose length is known is code of that size. One that depends on a symbol keeps its limit, which is then tested at every point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tcomp.ir.expressions import Index, as_index, index_variables
from tcomp.ir.index import Bounds, interval
from tcomp.ir.tile import Assign, Axis, Loop, TileStatement

Body = tuple[TileStatement, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit, and the largest size of the axes that have it."""

    limit: Index
    size: int


def find_limits(body: Body, known: frozenset[str]) -> list[Limit]:
    """The limits in a body (loops inside it included) that use known variables only, in order of appearance."""
    sizes: dict[Index, int] = {}
    for axis in _axes(body):
        if axis.limit is not None and index_variables(axis.limit) <= known:
            sizes[axis.limit] = max(axis.size, sizes.get(axis.limit, 0))
    return [Limit(limit, size) for limit, size in sizes.items()]


def _axes(body: Body) -> Iterator[Axis]:
    for statement in body:
        if isinstance(statement, Loop):
            yield from _axes(statement.body)
        elif isinstance(statement, Assign):
            yield from statement.axes
            yield from statement.reduced


def set_limit(body: Body, limit: Index, size: int | None) -> Body:
    """The body where a limit is known to be `size`, or, with None, not to matter."""

    def axis_of(axis: Axis) -> Axis:
        if axis.limit != limit:
            return axis
        return Axis(axis.name, axis.size if size is None else min(axis.size, size))

    def visit(statement: TileStatement) -> TileStatement:
        match statement:
            case Loop():
                return replace(statement, body=set_limit(statement.body, limit, size))
            case Assign():
                return replace(
                    statement,
                    axes=tuple(map(axis_of, statement.axes)),
                    reduced=tuple(map(axis_of, statement.reduced)),
                )
            case _:
                return statement

    return tuple(map(visit, body))


def drop_certain(body: Body, limits: list[Limit], bounds: Bounds) -> tuple[Body, list[Limit]]:
    """Drop the limits that are proved never to matter."""
    kept: list[Limit] = []
    for limit in limits:
        low = interval(limit.limit, bounds)[0]
        if low is not None and low >= limit.size:
            body = set_limit(body, limit.limit, None)
        else:
            kept.append(limit)
    return body, kept


def tail_of(limit: Limit, loops: tuple[Loop, ...]) -> int | None:
    """The one value that a limit has where it is below its size, if that is known: the last step of a loop of known range."""
    for loop in loops:
        rest = loop.stop - as_index(loop.variable)
        if limit.limit == rest and loop.start.is_constant and loop.stop.is_constant and loop.step == limit.size:
            return (loop.stop.constant - loop.start.constant) % loop.step
    return None
