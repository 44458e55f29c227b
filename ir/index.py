"""Simplification of indices when the ranges of their variables are known.

    (4*i + j) // 4  =>  i      if 0 <= j < 4
    (4*i + j) % 4   =>  j      if 0 <= j < 4
    (4*i + j) // 8  =>  i // 2 if 0 <= j < 4
    (x // a) // b   =>  x // (a*b)
    (x % (a*b)) % b =>  x % b
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

from tcomp.ir.expressions import (
    ONE,
    ZERO,
    Atom,
    Expr,
    Index,
    Load,
    Monomial,
    Ordinal,
    Quotient,
    Remainder,
    Value,
    Variable,
    as_index,
    atom_index,
    divide_exactly,
)
from tcomp.ir.walk import map_arguments, rebuild, value_index, walk_index

Interval = tuple[int | None, int | None]


@dataclass(frozen=True)
class Bounds:
    """Ranges of variables: a rank variable in `extents` runs over [0, extent); a symbol over its inclusive (low, high)."""

    extents: Mapping[str, Index] = field(default_factory=dict)
    symbols: Mapping[str, Interval] = field(default_factory=dict)

    def interval_of(self, name: str) -> Interval:
        """The smallest and largest value of a variable; None where unbounded."""
        extent = self.extents.get(name)
        if extent is None:
            return self.symbols.get(name, (None, None))
        high = interval(extent, self)[1]
        return 0, None if high is None else high - 1


def interval(index: Index, bounds: Bounds) -> Interval:
    """Smallest and largest value an index can have (None: unbounded), by interval arithmetic."""
    low: int | None = index.constant
    high: int | None = index.constant
    for monomial, coefficient in index.terms:
        a, b = _monomial_interval(monomial, bounds)
        if coefficient < 0:
            a, b = b, a
        low = None if low is None or a is None else low + coefficient * a
        high = None if high is None or b is None else high + coefficient * b
    return low, high


def _monomial_interval(monomial: Monomial, bounds: Bounds) -> Interval:
    low: int | None = 1
    high: int | None = 1
    for atom in monomial:
        a, b = _atom_interval(atom, bounds)
        if low is not None and low >= 0 and a is not None and a >= 0:
            low, high = low * a, None if high is None or b is None else high * b
        elif None in (low, high, a, b):
            return None, None
        else:
            corners = [low * a, low * b, high * a, high * b]  # type: ignore[operator]  # none is None, tested above
            low, high = min(corners), max(corners)
    return low, high


def _atom_interval(atom: Atom, bounds: Bounds) -> Interval:
    match atom:
        case Variable(name):
            return bounds.interval_of(name)
        case Quotient(a, b):
            low, high = interval(a, bounds)
            small, large = interval(b, bounds)
            if small is None or small <= 0:
                return None, None
            bottom = None
            if low is not None:
                bottom = low // small if low < 0 else (0 if large is None else low // large)
            top = None
            if high is not None:
                top = high // small if high >= 0 else (-1 if large is None else high // large)
            return bottom, top
        case Remainder(_, b):
            high = interval(b, bounds)[1]
            return 0, None if high is None else high - 1
        case Value():
            return None, None


def largest(index: Index, bounds: Bounds) -> Index | None:
    """An upper bound in which rank variables are replaced by their symbolic largest values; None if a sign is unknown."""
    total = as_index(index.constant)
    for monomial, coefficient in index.terms:
        if not any(isinstance(atom, Remainder | Quotient | Value) or atom.name in bounds.extents for atom in monomial):
            total = total + Index(((monomial, coefficient),), 0)
            continue
        lowest = [_atom_interval(atom, bounds)[0] for atom in monomial]
        if any(low is None or low < 0 for low in lowest):
            return None
        if coefficient < 0:
            continue
        product = as_index(coefficient)
        for atom in monomial:
            match atom:
                case Variable(name):
                    product = product * (bounds.extents[name] - 1 if name in bounds.extents else as_index(name))
                case Remainder(_, denominator):
                    product = product * (denominator - 1)
                case Quotient() | Value():
                    return None
        total = total + product
    return total


def is_below(index: Index, limit: Index, bounds: Bounds) -> bool:
    """Whether index < limit is proved for all values of the variables."""
    high = interval(index, bounds)[1]
    low = interval(limit, bounds)[0]
    if high is not None and low is not None and high < low:
        return True
    top = largest(index, bounds)
    if top is None:
        return False
    gap = interval(limit - 1 - top, bounds)[0]
    return gap is not None and gap >= 0


def is_inside(index: Index, extent: Index, bounds: Bounds) -> bool:
    """Whether 0 <= index < extent is proved."""
    low = interval(index, bounds)[0]
    return low is not None and low >= 0 and is_below(index, extent, bounds)


def is_data(index: Index) -> bool:
    """Whether an index contains an element of a tensor, so that only a run can tell whether it is inside."""
    return any(isinstance(part, Load) for part in walk_index(index))


def simplify_index(index: Index, bounds: Bounds) -> Index:
    """Simplify quotients and remainders with the ranges of variables; the value is unchanged on those ranges."""
    if all(isinstance(atom, Variable) for monomial, _ in index.terms for atom in monomial):
        return index

    def change(atom: Atom) -> Index:
        match atom:
            case Quotient(a, b):
                return floor_divide(simplify_index(a, bounds), simplify_index(b, bounds), bounds)
            case Remainder(a, b):
                return modulo(simplify_index(a, bounds), simplify_index(b, bounds), bounds)
            case Value(expression):
                return value_index(simplify_indices(expression, bounds))
            case Variable():
                return atom_index(atom)

    return _join_parts(rebuild(index, change))


def simplify_indices(expression: Expr, bounds: Bounds) -> Expr:
    """Simplify every index of an expression; a stated outside value that can never be read is dropped elsewhere."""
    match expression:
        case Load(tensor, index, outside):
            new = tuple(simplify_index(i, bounds) for i in index)
            return expression if new == index else Load(tensor, new, outside)
        case Ordinal(index, dtype):
            return Ordinal(simplify_index(index, bounds), dtype)
        case _:
            return map_arguments(expression, lambda argument: simplify_indices(argument, bounds))


def _join_parts(index: Index) -> Index:
    """b*(x // b) + x % b => x, also with a common factor on both."""
    for monomial, coefficient in index.terms:
        for atom in monomial:
            if not isinstance(atom, Remainder):
                continue
            rest = tuple(a for a in monomial if a is not atom)
            partner = floor_divide(atom.numerator, atom.denominator, Bounds()) * atom.denominator * coefficient
            for other in rest:
                partner = partner * atom_index(other)
            if len(partner.terms) == 1 and partner.terms[0] in index.terms:
                whole = atom.numerator * coefficient
                for other in rest:
                    whole = whole * atom_index(other)
                return _join_parts(index - Index(((monomial, coefficient),), 0) - partner + whole)
    return index


def _split_multiple(index: Index, divisor: Index) -> tuple[Index, Index]:
    """Write index = quotient * divisor + rest, with every term that the divisor divides in the quotient."""
    quotient, rest = ZERO, ZERO
    for monomial, coefficient in index.terms:
        term = Index(((monomial, coefficient),), 0)
        exact = divide_exactly(term, divisor)
        if exact is not None:
            quotient = quotient + exact
        elif divisor.is_constant and abs(coefficient) > divisor.constant:
            whole = coefficient // divisor.constant
            quotient = quotient + Index(((monomial, whole),), 0)
            rest = rest + Index(((monomial, coefficient - whole * divisor.constant),), 0)
        else:
            rest = rest + term
    if divisor.is_constant:
        return quotient + index.constant // divisor.constant, rest + index.constant % divisor.constant
    return quotient, rest + index.constant


def pair_of(index: Index) -> tuple[Index, int] | None:
    """Which pair of neighbours an index is of, and the part of it, 0 or 1: `index == 2 * pair + part`; None if the part may vary."""
    if any(coefficient % 2 for _, coefficient in index.terms):
        return None
    return Index(tuple((monomial, coefficient // 2) for monomial, coefficient in index.terms), index.constant // 2), index.constant % 2


def floor_divide(index: Index, divisor: Index, bounds: Bounds) -> Index:
    """Floor division, simplified on the ranges of `bounds`."""
    if divisor == ONE:
        return index
    quotient, rest = _split_multiple(index, divisor)
    if rest == ZERO or is_inside(rest, divisor, bounds):
        return quotient
    if divisor.is_constant:
        quotient, rest = _settle(quotient, rest, divisor.constant, bounds)
        if rest == ZERO or is_inside(rest, divisor, bounds):
            return quotient
        for step in _steps(rest, divisor.constant):
            whole, part = _split_multiple(rest, as_index(step))
            if is_inside(part, as_index(step), bounds):
                return quotient + floor_divide(whole, as_index(divisor.constant // step), bounds)
    single = rest.terms[0][0][0] if len(rest.terms) == 1 and len(rest.terms[0][0]) == 1 and not rest.constant else None
    if single is not None and rest.terms[0][1] == 1:
        if isinstance(single, Quotient):
            return quotient + floor_divide(single.numerator, single.denominator * divisor, bounds)
        if isinstance(single, Remainder):
            outer = divide_exactly(single.denominator, divisor)
            if outer is not None:
                return quotient + modulo(floor_divide(single.numerator, divisor, bounds), outer, bounds)
    return quotient + atom_index(Quotient(rest, divisor))


def modulo(index: Index, divisor: Index, bounds: Bounds) -> Index:
    """Remainder of floor division, simplified on the ranges of `bounds`."""
    if divisor == ONE:
        return ZERO
    rest = _split_multiple(index, divisor)[1]
    if rest == ZERO or is_inside(rest, divisor, bounds):
        return rest
    if divisor.is_constant:
        rest = _settle(ZERO, rest, divisor.constant, bounds)[1]
        if rest == ZERO or is_inside(rest, divisor, bounds):
            return rest
        for step in _steps(rest, divisor.constant):
            whole, part = _split_multiple(rest, as_index(step))
            if is_inside(part, as_index(step), bounds):
                return modulo(whole, as_index(divisor.constant // step), bounds) * step + part
    single = rest.terms[0][0][0] if len(rest.terms) == 1 and len(rest.terms[0][0]) == 1 and not rest.constant else None
    if isinstance(single, Remainder) and rest.terms[0][1] == 1 and divide_exactly(single.denominator, divisor) is not None:
        return modulo(single.numerator, divisor, bounds)
    return atom_index(Remainder(rest, divisor))


def _steps(index: Index, divisor: int) -> list[int]:
    """Common factors of the divisor and some coefficient, largest first: candidates to cancel."""
    return sorted({gcd(divisor, c) for _, c in index.terms} - {1, divisor}, reverse=True)


def _settle(quotient: Index, rest: Index, divisor: int, bounds: Bounds) -> tuple[Index, Index]:
    """Shift the constant of `rest` by a multiple of the divisor when that brings its whole range into [0, divisor)."""
    low, high = interval(rest, bounds)
    if low is None or high is None or low // divisor != high // divisor:
        return quotient, rest
    whole = low // divisor
    return quotient + whole, rest - whole * divisor
