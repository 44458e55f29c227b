"""When each tensor of the arena is alive, and how many bytes it takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from tcomp.ir.cascade import Symbol
from tcomp.ir.expressions import ZERO, Index, as_index
from tcomp.ir.index import Bounds, interval
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.lower.candidate import Candidate

ALIGNMENT = 64
"""Bytes: a cache line, and a 512-bit vector."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A tensor of `size` bytes alive during steps first..last, both included."""

    name: str
    size: Index
    first: int
    last: int


def align(size: int) -> int:
    """Round up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def symbolic_align(size: Index) -> Index:
    """A symbolic size rounded up to the alignment."""
    return ((size + (ALIGNMENT - 1)) // ALIGNMENT) * ALIGNMENT if size != ZERO else size


def overlap(a: Lifetime, b: Lifetime) -> bool:
    """Whether two tensors are alive at one step."""
    return a.first <= b.last and b.first <= a.last


def find_lives(kernels: Sequence[Candidate], memories: Mapping[str, Memory], external: Collection[str]) -> tuple[Lifetime, ...]:
    """The tensors of the arena, in order of their first use."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for position, kernel in enumerate(kernels):
        for operand in kernel.operands:
            if operand.tensor not in external:
                first.setdefault(operand.tensor, position)
                last[operand.tensor] = position
    return tuple(Lifetime(name, memories[name].bytes, first[name], last[name]) for name in first)


def smallest_bytes(size: Index, symbols: Iterable[Symbol]) -> int:
    """The bytes of a size where symbols are smallest, by interval arithmetic; 0 if it has no bound."""
    return interval(size, Bounds({}, {symbol.name: (symbol.low, symbol.high) for symbol in symbols}))[0] or 0


def smallest_lives(lives: Iterable[Lifetime], symbols: Sequence[Symbol]) -> tuple[Lifetime, ...]:
    """The same lives with the sizes that tensors have where symbols are smallest."""
    return tuple(replace(life, size=as_index(smallest_bytes(life.size, symbols))) for life in lives)


def live_bytes(lives: Iterable[Lifetime], steps: int) -> list[int]:
    """Bytes alive at each step, every tensor aligned. Sizes are constant.

    The most of them is a lower bound of the arena: tensors alive at one step share no byte, wherever they are placed.
    """
    changes = [0] * (steps + 1)
    for life in lives:
        changes[life.first] += align(life.size.constant)
        changes[life.last + 1] -= align(life.size.constant)
    return list(accumulate(changes))[:steps]
