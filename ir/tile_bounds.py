"""Whether a tile program provably leaves the bounds of its memory, tried at the corners of its loops.

A corner has every symbol at an end of its range, every loop at its first or last step, and every axis at its first or last
point. It is a point that really runs, so an index that is outside there is a fault and no suspicion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from tcomp.ir.cascade import Symbol
from tcomp.ir.expressions import Index, Load, Quotient, Remainder, Value, Variable, index_variables, variables
from tcomp.ir.text import print_expression
from tcomp.ir.tile import Axis, Loop
from tcomp.ir.tile_scope import Site, place_shape

Corner: TypeAlias = Mapping[str, int]
Range: TypeAlias = Symbol | Loop | Axis

UNBOUNDED_STEP = 61
"""How far above its lowest value a symbol without an upper end is tried: no tile size divides it."""


def check_bounds(site: Site) -> None:
    """No index is outside its memory at a corner, unless the load states a value outside or the store a predicate."""
    for load in site.reads():
        if load.outside is None:
            _check_access(site, load)
    if site.assign.where is None or site.assign.reduced:
        _check_access(site, site.store)


def _check_access(site: Site, access: Load) -> None:
    shape = place_shape(site.places[access.tensor])
    used = variables(access).union(*(index_variables(extent) for extent in shape))
    for corner in find_corners(site, used):
        for index, extent in zip(access.index, shape):
            value, limit = evaluate_at(index, corner), evaluate_at(extent, corner)
            if value is not None and limit is not None and not 0 <= value < limit:
                point = ", ".join(f"{name} = {n}" for name, n in corner.items() if name in used)
                raise site.fault(
                    f"{print_expression(access)} is outside: {value} is not in 0 .. {limit}" + (f", at {point}" if point else ""),
                    "limit an axis, or state the value outside",
                )


def find_corners(site: Site, used: set[str]) -> Iterator[Corner]:
    """The corners of all that the used variables depend on, other variables at their first value; none where nothing runs."""
    ranges: list[Range] = [*site.kernel.symbols, *site.loops, *site.axes]
    needed = set(used)
    for item in reversed(ranges):
        if _name(item) in needed:
            match item:
                case Loop():
                    needed |= index_variables(item.start) | index_variables(item.stop)
                case Axis(_, _, Index() as limit):
                    needed |= index_variables(limit)
    return _extend({}, ranges, needed)


def _extend(corner: Corner, ranges: list[Range], needed: set[str]) -> Iterator[Corner]:
    if not ranges:
        yield corner
        return
    name = _name(ranges[0])
    ends = _find_ends(ranges[0], corner)
    for end in ends if name in needed else ends[:1]:
        yield from _extend({**corner, name: end}, ranges[1:], needed)


def _name(item: Range) -> str:
    return item.variable if isinstance(item, Loop) else item.name


def _find_ends(item: Range, corner: Corner) -> list[int]:
    """The first and the last value, one if they are the same, none if the range is empty."""
    match item:
        case Symbol(_, low, high):
            first, last = low, low + UNBOUNDED_STEP if high is None else high
        case Loop():
            start, stop = evaluate_at(item.start, corner), evaluate_at(item.stop, corner)
            assert start is not None and stop is not None, "loop bounds are checked to be free of loaded values"
            first, last = start, start + (stop - 1 - start) // item.step * item.step
        case Axis(_, size, limit):
            points = size if limit is None else evaluate_at(limit, corner)
            assert points is not None, "limits are checked to be free of loaded values"
            first, last = 0, min(size, points) - 1
    return [] if last < first else sorted({first, last})


def evaluate_at(index: Index, point: Corner) -> int | None:
    """The value of an index where all its variables are known; None if it depends on a value that is loaded."""
    total = index.constant
    for monomial, coefficient in index.terms:
        for atom in monomial:
            match atom:
                case Variable(name):
                    coefficient *= point[name]
                case Quotient(a, b) | Remainder(a, b):
                    numerator, denominator = evaluate_at(a, point), evaluate_at(b, point)
                    if numerator is None or not denominator:
                        return None
                    quotient, remainder = divmod(numerator, denominator)
                    coefficient *= quotient if isinstance(atom, Quotient) else remainder
                case Value():
                    return None
        total += coefficient
    return total
