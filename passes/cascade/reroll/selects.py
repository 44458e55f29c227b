"""Selects by position: where a rank chooses among elements that follow one rule, they are one element.

    select(i64[k] < 2, select(i64[k] < 1, Y[0, d], Y[1, d]), select(i64[k] < 3, Y[2, d], Y[3, d]))   with k:4
      =>
    Y[k, d]

A choice that is wider than one position, as joining tensors of extent w makes it, gives `Y[k // w, k % w]`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import Apply, Constant, Expr, Index, Ordinal, as_index
from tcomp.ir.index import Bounds, interval
from tcomp.ir.walk import map_arguments, map_indices
from tcomp.passes.cascade.reroll.repeats import FEWEST_COPIES, Filling, Trace, fill_expression, trace_expression


@dataclass(frozen=True, slots=True)
class _Piece:
    """Positions `start` to `stop` of a rank, at which a value is chosen."""

    start: int
    stop: int
    value: Expr


def join_selects(expression: Expr, bounds: Bounds) -> Expr:
    """Join the alternatives of selects by position where they follow one rule; the same expression if none do."""
    match expression:
        case Apply("select", (condition, *_)):
            found = _find_split(condition)
            extent = None if found is None else _extent(found[0], bounds)
            if found is not None and extent is not None:
                pieces = _flatten(expression, found[0], 0, extent)
                joined = _join(pieces, found[0]) if len(pieces) >= FEWEST_COPIES else pieces
                if len(joined) < len(pieces):
                    return _choose(joined, found[0])
    return map_arguments(expression, lambda argument: join_selects(argument, bounds))


def _extent(rank: str, bounds: Bounds) -> int | None:
    low, high = interval(as_index(rank), bounds)
    return high + 1 if low == 0 and high is not None else None


def _find_split(condition: Expr) -> tuple[str, int] | None:
    """The rank and the first position that is not below, of a condition that a position is below another."""
    match condition:
        case Apply("lt" | "le" as operator, (Ordinal(index, dtype), Constant(value, _))) if dtype == i64:
            name = (index - index.constant).as_variable
            return None if name is None else (name, int(value) - index.constant + (operator == "le"))
    return None


def _flatten(expression: Expr, rank: str, start: int, stop: int) -> list[_Piece]:
    """What is chosen along a rank, from `start` to `stop`."""
    match expression:
        case Apply("select", (condition, below, others)):
            found = _find_split(condition)
            if found is not None and found[0] == rank:
                split = min(max(found[1], start), stop)
                return [*_flatten(below, rank, start, split), *_flatten(others, rank, split, stop)]
    return [_Piece(start, stop, expression)] if start < stop else []


def _join(pieces: list[_Piece], rank: str) -> list[_Piece]:
    """Join neighbouring pieces of equal width whose values follow one rule."""
    traces = [trace_expression(p.value) for p in pieces]
    joined: list[_Piece] = []
    first = 0
    while first < len(pieces):
        growth = _growth(pieces, traces, first, first + 1)
        last = first + 1
        while growth is not None and last < len(pieces) and _growth(pieces, traces, last - 1, last) == growth:
            last += 1
        if growth is not None and last - first >= FEWEST_COPIES:
            value = _value(pieces[first], traces[first], growth, rank)
            joined.append(_Piece(pieces[first].start, pieces[last - 1].stop, value))
            first = last
        else:
            joined.append(pieces[first])
            first += 1
    return joined


def _growth(pieces: list[_Piece], traces: list[Trace], first: int, second: int) -> tuple[int, ...] | None:
    """How much constants grow from one piece to the next; None if the two differ in anything else."""
    if second >= len(pieces):
        return None
    widths = {p.stop - p.start for p in (pieces[first], pieces[second])}
    if len(widths) > 1 or traces[first].key != traces[second].key:
        return None
    growth = []
    for a, b in zip(traces[first].holes, traces[second].holes):
        if isinstance(a, int) and isinstance(b, int):
            growth.append(b - a)
        elif a != b:
            return None
    return tuple(growth)


def _value(piece: _Piece, trace: Trace, growth: tuple[int, ...], rank: str) -> Expr:
    """The value of the first piece with its constants growing from piece to piece."""
    width = piece.stop - piece.start
    place = as_index(rank) - piece.start
    steps = iter(growth)
    fillings: list[Filling] = []
    for hole in trace.holes:
        if isinstance(hole, str):
            fillings.append((hole, ()))
        else:
            fillings.append(as_index(hole) + place // width * next(steps))
    return _fold_places(fill_expression(piece.value, iter(fillings)), place, width)


def _fold_places(expression: Expr, place: Index, width: int) -> Expr:
    """Write k - w * (k // w) as k % w."""
    return expression if width == 1 else map_indices(expression, lambda index: _fold_place(index, place, width))


def _fold_place(index: Index, place: Index, width: int) -> Index:
    terms = dict(index.terms)
    counted = terms.get((place // width).terms[0][0], 0)
    factor = terms.get(place.terms[0][0], 0)
    if counted and counted == -factor * width:
        return index - (place - place // width * width) * factor + place % width * factor
    return index


def _choose(pieces: list[_Piece], rank: str) -> Expr:
    """The value of the piece in which a position lies, found by halving."""
    if len(pieces) == 1:
        return pieces[0].value
    middle = len(pieces) // 2
    below = Apply("lt", (Ordinal(as_index(rank), i64), Constant(pieces[middle].start, i64)))
    return Apply("select", (below, _choose(pieces[:middle], rank), _choose(pieces[middle:], rank)))
