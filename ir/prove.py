"""Whether an index is never negative, proved from the ranges of its variables.

The smallest value is looked for by taking parts away one after another, variables from the innermost out and then divisions; each
step leaves an index whose being non-negative proves that of the one before:

    N - 1 - 32*o - i      with i <= N - 1 - 32*o     =>   0              an affine index is smallest where a variable ends
    9 - (8*o + i) // 7                               =>   69 - 8*o - i   since x // 7 <= 9 where x < 70
    6 - x % 7                                        =>   0              since x % 7 <= 6

What is not proved may be true all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

from tcomp.ir.cascade import Symbol
from tcomp.ir.expressions import ONE, ZERO, Atom, Index, Monomial, Quotient, Remainder, Value, Variable, as_index, atom_index
from tcomp.ir.walk import index_variables

MOST_STEPS = 400
"""Steps of one proof: real ones take a handful."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The values of a variable: at least `low` and at most each of `highs`, all over variables of ranges further out; never empty."""

    name: str
    low: Index
    highs: tuple[Index, ...]


def symbol_ends(symbols: Sequence[Symbol]) -> tuple[Ends, ...]:
    """The ranges of symbolic sizes."""
    return tuple(Ends(s.name, as_index(s.low), () if s.high is None else (as_index(s.high),)) for s in symbols)


class Prover:
    """Proves what holds for all values of some variables; `ends` come outermost first."""

    def __init__(self, ends: Sequence[Ends]) -> None:
        self._ends = tuple(reversed(ends))
        self._known: dict[Index, bool] = {}
        self._steps = 0

    def is_never_negative(self, index: Index) -> bool:
        """Whether index >= 0 is proved."""
        self._steps = 0
        return self._holds(index)

    def _holds(self, index: Index) -> bool:
        if index.is_constant:
            return index.constant >= 0
        index = _reduce(index)
        known = self._known.get(index)
        if known is None:
            self._steps += 1
            self._known[index] = False
            known = self._known[index] = self._steps <= MOST_STEPS and any(map(all, self._list_ways(index)))
        return known

    def _list_ways(self, index: Index) -> Iterator[Iterator[bool]]:
        """Ways to prove it, each as claims that are all to hold."""
        divisions = list(dict.fromkeys(atom for monomial, _ in index.terms for atom in monomial if not isinstance(atom, Variable)))
        later = {name for atom in divisions for name in index_variables(atom_index(atom))}
        for item in self._ends:
            if item.name in later:
                # So do those that its ends are made of.
                later |= {name for end in (item.low, *item.highs) for name in index_variables(end)}
                continue
            factor, rest = _split(index, Variable(item.name))
            if factor != ZERO:
                yield from self._end(item, factor, rest)
                return
        if divisions:
            # What loses nothing comes first.
            parts = [(atom, *_split(index, atom)) for atom in divisions]
            yield from self._divide(*min(parts, key=lambda part: (isinstance(part[0], Quotient), part[1] not in (ONE, -ONE))))

    def _end(self, item: Ends, factor: Index, rest: Index) -> Iterator[Iterator[bool]]:
        """Factor * variable + rest, at the ends of the variable's range."""
        low = rest + factor * item.low
        if factor.is_constant:
            ends = [low] if factor.constant > 0 else [rest + factor * high for high in item.highs]
            yield from (iter([self._holds(end)]) for end in ends)
            return
        yield (self._holds(claim) for claim in (low, factor))
        if item.name in index_variables(factor):
            return
        # Affine in the variable, it is nowhere smaller than at both ends.
        yield from ((self._holds(claim) for claim in (low, rest + factor * high)) for high in item.highs)

    def _divide(self, atom: Atom, factor: Index, rest: Index) -> Iterator[Iterator[bool]]:
        """Factor * atom + rest, with what is known of a division."""
        match atom:
            case Remainder(a, b):
                yield (self._holds(claim) for claim in (factor, rest))
                yield (self._holds(claim) for claim in (-factor, rest + factor * (b - 1)))
                yield (self._holds(claim) for claim in (-factor, a, rest + factor * a))
            case Quotient(a, b) if factor == ONE:
                yield iter([self._holds(a + rest * b)])
            case Quotient(a, b) if factor == -ONE:
                yield iter([self._holds((rest + 1) * b - a - 1)])
            case Quotient(a, b):
                # Between (a - b + 1) / b and a / b, everything times b.
                yield (self._holds(claim) for claim in (factor, rest * b + factor * (a - b + 1)))
                yield (self._holds(claim) for claim in (-factor, rest * b + factor * a))
                yield (self._holds(claim) for claim in (factor, a, rest))
            case Value() | Variable():
                return


def _reduce(index: Index) -> Index:
    """The index divided by what all its terms have in common: it is negative where that is."""
    common = gcd(*(coefficient for _, coefficient in index.terms))
    if common == 1:
        return index
    return Index(tuple((monomial, coefficient // common) for monomial, coefficient in index.terms), index.constant // common)


def _split(index: Index, atom: Atom) -> tuple[Index, Index]:
    """(factor, rest) with index = factor * atom + rest; the atom is not in the rest, and in the factor only where it has powers."""
    factor: list[tuple[Monomial, int]] = []
    rest: list[tuple[Monomial, int]] = []
    for monomial, coefficient in index.terms:
        if atom not in monomial:
            rest.append((monomial, coefficient))
            continue
        left = list(monomial)
        left.remove(atom)
        factor.append((tuple(left), coefficient))
    plain = sum(coefficient for monomial, coefficient in factor if not monomial)
    return Index(tuple((m, c) for m, c in factor if m), plain), Index(tuple(rest), index.constant)
