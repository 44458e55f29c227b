"""Whether a tile program leaves the bounds of its memory: tried at the corners of its loops, and proved that it never does.

A corner has every symbol at an end of its range, every loop at its first or last step, and every axis at its first or last
point. It is a point that really runs, so an index that is outside there is a fault and no suspicion. A proof holds for all points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tcomp.ir.cascade import Symbol
from tcomp.ir.expressions import (
    ZERO,
    Apply,
    Constant,
    Expr,
    Index,
    Load,
    Ordinal,
    Quotient,
    Remainder,
    Value,
    Variable,
    as_index,
    print_expression,
)
from tcomp.ir.index import is_data
from tcomp.ir.prove import Ends, Prover, symbol_ends
from tcomp.ir.tile import Axis, Kernel, Loop
from tcomp.ir.tile_scope import Site, find_sites, place_shape
from tcomp.ir.walk import index_variables, variables

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
    point = next(_list_outside(site, access), None)
    if point is not None:
        raise site.fault(f"{print_expression(access)} is outside: {point.text}", "limit an axis, or state the value outside")


@dataclass(frozen=True, slots=True)
class _Outside:
    """A point where an access leaves its memory, in words and as the values of the symbols there."""

    text: str
    sizes: tuple[int, ...]


def _list_outside(site: Site, access: Load) -> Iterator[_Outside]:
    for corner in _find_access_corners(site, access):
        for index, extent in zip(access.index, place_shape(site.places[access.tensor])):
            value, limit = evaluate_at(index, corner), evaluate_at(extent, corner)
            if value is not None and limit is not None and not 0 <= value < limit:
                point = ", ".join(f"{name} = {n}" for name, n in corner.items() if name in _find_used(site, access))
                text = f"{value} is not in 0 .. {limit}" + (f", at {point}" if point else "")
                yield _Outside(text, _read_sizes(site, corner))


def find_outside(site: Site, access: Load) -> str | None:
    """A point in words where an access is outside its memory; if sizes are symbolic, only if there are such points for all that are tried.

    A program may be called for some sizes only, and which these are a kernel does not say. A store with a predicate may leave its
    memory where the predicate is false: of one None is known.
    """
    if access == site.store and site.assign.where is not None and not site.assign.reduced:
        return None
    outside = list(_list_outside(site, access))
    tried = {_read_sizes(site, corner) for corner in _find_access_corners(site, access)} if outside else set()
    return outside[0].text if outside and tried == {point.sizes for point in outside} else None


def _read_sizes(site: Site, corner: Corner) -> tuple[int, ...]:
    return tuple(corner[symbol.name] for symbol in site.kernel.symbols)


def _find_used(site: Site, access: Load) -> set[str]:
    return variables(access).union(*(index_variables(extent) for extent in place_shape(site.places[access.tensor])))


def _find_access_corners(site: Site, access: Load) -> Iterator[Corner]:
    return find_corners(site, _find_used(site, access))


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


def site_ends(site: Site) -> tuple[Ends, ...]:
    """The ranges of all variables of a statement that runs, outermost first."""
    loops = (Ends(loop.variable, loop.start, tuple(_find_last(loop))) for loop in site.loops)
    axes = (Ends(a.name, ZERO, (*((a.limit - 1,) if a.limit is not None else ()), as_index(a.size - 1))) for a in site.axes)
    return (*symbol_ends(site.kernel.symbols), *loops, *axes)


def _find_last(loop: Loop) -> Iterator[Index]:
    """Values that the variable of a loop does not exceed, the best first."""
    if loop.step == 1:
        yield loop.stop - 1
        return
    yield loop.start + (loop.stop - 1 - loop.start) // loop.step * loop.step
    yield loop.stop - 1


def find_unproved(kernel: Kernel) -> Iterator[tuple[Site, Load]]:
    """The accesses of which it is not proved that they stay inside what they name; those that are checked when they run aside."""
    provers: dict[tuple[Ends, ...], Prover] = {}
    for site in find_sites(kernel):
        ends = site_ends(site)
        if _is_empty(ends):
            continue
        prover = provers.setdefault(ends, Prover(ends))
        where = site.assign.where if not site.assign.reduced else None
        facts = () if where is None else tuple(_list_facts(where))
        for access in dict.fromkeys(load for load in site.reads() if load.outside is None):
            if not _is_proved(site, access, prover, ()):
                yield site, access
        if not _is_proved(site, site.store, prover, facts):
            yield site, site.store


def _is_empty(ends: tuple[Ends, ...]) -> bool:
    """Whether a variable has no values, whatever the sizes: what it counts never runs."""
    widths = [high - item.low for item in ends for high in item.highs]
    return any(width.is_constant and width.constant < 0 for width in widths)


def _is_proved(site: Site, access: Load, prover: Prover, facts: tuple[Index, ...]) -> bool:
    def holds(slack: Index) -> bool:
        return prover.is_never_negative(slack) or any(prover.is_never_negative(slack - fact) for fact in facts)

    pairs = zip(access.index, place_shape(site.places[access.tensor]))
    return all(is_data(index) or (holds(index) and holds(extent - 1 - index)) for index, extent in pairs)


def _list_facts(predicate: Expr) -> Iterator[Index]:
    """Indices that are not negative where a predicate is true."""
    match predicate:
        case Apply("and", parts):
            for part in parts:
                yield from _list_facts(part)
        case Apply("lt" | "le" | "gt" | "ge" as relation, (Ordinal() | Constant() as left, Ordinal() | Constant() as right)):
            a, b = (as_index(int(side.value)) if isinstance(side, Constant) else side.index for side in (left, right))
            small, large = (a, b) if relation in ("lt", "le") else (b, a)
            yield large - small - int(relation in ("lt", "gt"))
