"""Splitting off tails, so that a limit which holds everywhere but at the end costs nothing elsewhere.

    for k in 0 .. 100 step 32 { ... over (k.0:32 < 100 - k) ... }
        =>  while 100 - k >= 32 { ... over (k.0:32) ... }   then   while k < 100 { ... over (k.0:4) ... }

A tail whose length is known is code of that size. One that depends on a symbol keeps its limit, which is then tested at every point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tcomp.ir.expressions import Index, Variable
from tcomp.ir.index import Bounds, interval
from tcomp.ir.tile import Assign, Axis, Loop, TileStatement
from tcomp.ir.walk import index_variables

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


def tail_of(limit: Limit, loops: tuple[Loop, ...], bounds: Bounds) -> int | None:
    """The one value below its size that a limit takes, if that is known; 0 if it takes none.

    Known are limits that fall evenly along one loop of known range: `100 - k` with k in steps of 32, `100 - 32*k` with k in steps
    of one. That may be a part of the range, such as `4*p .. 4*p + 4`, where the steps are of one.
    """
    for loop in loops:
        fall = _fall(limit.limit, loop.variable)
        start, stop = interval(loop.start, bounds)[0], interval(loop.stop, bounds)[1]
        if fall is None or start is None or stop is None or (loop.step > 1 and not loop.start.is_constant):
            continue
        last = start + max(0, (stop - 1 - start) // loop.step) * loop.step
        tail = limit.limit.constant - fall * last
        if tail >= limit.size:
            return 0
        is_alone = last == start or tail + fall * loop.step >= limit.size
        return tail if tail > 0 and is_alone else None
    return None


def _fall(limit: Index, variable: str) -> int | None:
    """c, if the limit is a number minus c times the variable, and c is positive."""
    if len(limit.terms) != 1:
        return None
    monomial, coefficient = limit.terms[0]
    return -coefficient if monomial == (Variable(variable),) and coefficient < 0 else None
