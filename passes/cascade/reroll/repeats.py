"""Repeats: stretches of statements that come again and again, alike but for names of tensors and constants in indices.

    a: f32[d:8] = X[0, d] * S[d]
    b: f32[d:8] = X[1, d] * a[d]        three copies of one einsum: period 1, positions 0 to 3
    c: f32[d:8] = X[2, d] * b[d]

What may differ between copies is taken out of an einsum by `trace`, in the order of reading, and put back by `fill`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, Ordinal, as_index
from tcomp.ir.traverse import map_values
from tcomp.ir.walk import map_arguments

FEWEST_COPIES = 4
"""Copies worth rolling up; fewer are as good as they stand."""

FEWEST_ALIKE = FEWEST_COPIES - 1
"""Copies that must have one structure: the first one of a recurrence reads other things than the rest."""

LARGEST_PERIOD = 256
"""Einsums of one copy."""

CANDIDATES = 16
"""Periods tried at one statement: how often a copy may hold einsums like its first."""

Hole: TypeAlias = str | int
"""What may differ between copies: the name of a tensor, or a constant."""

Filling: TypeAlias = "tuple[str, tuple[Index, ...]] | Index"
"""What comes in place of a hole: a tensor and leading indices of its loads, or an index."""


@dataclass(frozen=True, slots=True)
class Trace:
    """An einsum's or expression's structure, which is hashable, and what was taken out of it."""

    key: tuple[object, ...]
    holes: tuple[Hole, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Positions `start` to `stop`, in which every statement is like the one `period` statements later, while that is inside."""

    start: int
    stop: int
    period: int

    @property
    def copies(self) -> int:
        """How many whole copies it holds."""
        return (self.stop - self.start) // self.period


def trace_einsum(einsum: Einsum, fixed: Collection[str]) -> Trace:
    """Take names of tensors and constants out of an einsum; names in `fixed` are part of its structure."""
    dtypes = tuple(dtype.name for _, dtype in einsum.targets)
    ranks = tuple((r.name, r.extent) for r in einsum.reduced)
    key: list[object] = [dtypes, einsum.index, einsum.shape, einsum.reduce, ranks, einsum.where is None]
    holes: list[Hole] = []
    _trace(einsum.expression, fixed, key, holes)
    if einsum.where is not None:
        _trace(einsum.where, fixed, key, holes)
    return Trace(tuple(key), tuple(holes))


def trace_expression(expression: Expr) -> Trace:
    """Take names of tensors and constants out of an expression."""
    key: list[object] = []
    holes: list[Hole] = []
    _trace(expression, (), key, holes)
    return Trace(tuple(key), tuple(holes))


def _trace(expression: Expr, fixed: Collection[str], key: list[object], holes: list[Hole]) -> None:
    match expression:
        case Load(tensor, index, outside):
            if tensor in fixed:
                key.append(tensor)
            else:
                key.append(0)
                holes.append(tensor)
            key.append(len(index))
            key.append(repr(outside))
            for i in index:
                key.append(i.terms)
                holes.append(i.constant)
        case Apply(operator, arguments):
            key.append(operator)
            key.append(len(arguments))
            for argument in arguments:
                _trace(argument, fixed, key, holes)
        case Constant(value, dtype) if dtype == i64:
            key.append(dtype.name)
            holes.append(int(value))
        case Constant(value, dtype):
            key.append(repr(value))
            key.append(dtype.name)
        case Ordinal(index, dtype):
            key.append(index.terms)
            key.append(dtype.name)
            holes.append(index.constant)
        case Cast(dtype, argument):
            key.append(("cast", dtype.name))
            _trace(argument, fixed, key, holes)


def fill_einsum(einsum: Einsum, fixed: Collection[str], fillings: Iterable[Filling]) -> Einsum:
    """Put other names and indices where `trace_einsum` took them out."""
    source = iter(fillings)
    return map_values(einsum, lambda value: fill_expression(value, source, fixed))


def fill_expression(expression: Expr, fillings: Iterator[Filling], fixed: Collection[str] = ()) -> Expr:
    """Put other names and indices where `trace_expression` took them out."""
    match expression:
        case Load(tensor, index, outside):
            name, leading = (tensor, ()) if tensor in fixed else _next_tensor(fillings)
            return Load(name, (*leading, *(_next_index(fillings, i) for i in index)), outside)
        case Constant(_, dtype) if dtype == i64:
            index = _next_index(fillings, as_index(0))
            return Constant(index.constant, i64) if index.is_constant else Ordinal(index, i64)
        case Ordinal(index, dtype):
            return Ordinal(_next_index(fillings, index), dtype)
        case _:
            return map_arguments(expression, lambda argument: fill_expression(argument, fillings, fixed))


def _next_tensor(fillings: Iterator[Filling]) -> tuple[str, tuple[Index, ...]]:
    filling = next(fillings)
    assert not isinstance(filling, Index)
    return filling


def _next_index(fillings: Iterator[Filling], index: Index) -> Index:
    filling = next(fillings)
    assert isinstance(filling, Index)
    return Index(index.terms, 0) + filling


def find_stretches(keys: Sequence[int]) -> Iterator[Stretch]:
    """Yield the stretches of equal keys at a fixed distance with `FEWEST_ALIKE` copies, by start, short periods first."""
    places: dict[int, list[int]] = {}
    order: list[int] = []
    for position, key in enumerate(keys):
        found = places.setdefault(key, [])
        order.append(len(found))
        found.append(position)
    ends: dict[int, int] = {}
    for position, key in enumerate(keys):
        alike = places[key]
        first = order[position] + 1
        if len(alike) < FEWEST_ALIKE:
            continue
        for other in alike[first : first + CANDIDATES]:
            period = other - position
            if period > LARGEST_PERIOD:
                break
            if other < ends.get(period, 0):
                continue  # inside a stretch that was met before
            ends[period] = stop = _stretch_end(keys, position, period)
            if stop - position >= FEWEST_ALIKE * period:
                yield Stretch(position, stop, period)


def _stretch_end(keys: Sequence[int], position: int, period: int) -> int:
    """The end of the longest stretch of a period that starts at a position."""
    end, count = position, len(keys) - period
    while end < count and keys[end] == keys[end + period]:
        end += 1
    return end + period
