"""When each tensor of the arena is alive, and how many bytes it takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tcomp.ir.expressions import ZERO, Index
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
