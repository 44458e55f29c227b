"""A group: the einsums of one kernel, over common rank names. What its loops are, its kind says (`tcomp.passes.kinds`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tcomp.ir.cascade import Einsum, Rank


@dataclass(frozen=True, slots=True)
class Window:
    """Groups that run in turns, each computing so many steps of an iteration at a time, which is named by its first tensor."""

    iteration: str
    steps: int


@dataclass(frozen=True, slots=True)
class Group:
    """Einsums fused into one kernel, in order; `stored` names the tensors that lie in memory.

    Of those in `rolling` memory has so many steps of the iteration: step t lies at t modulo their number.
    """

    kind: str
    members: tuple[Einsum, ...]
    outer: tuple[Rank, ...]
    inner: tuple[Rank, ...] = ()
    iterative: Rank | None = None
    stored: tuple[str, ...] = ()
    rolling: tuple[tuple[str, int], ...] = ()
    parts: tuple[Group, ...] = ()
    window: Window | None = None
    held: frozenset[str] = frozenset()
    """Members of an iteration of which a step is kept close to the core."""
    again: frozenset[str] = frozenset()
    """Members that are not kept at all: whoever reads them computes them again."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors the group defines."""
        return tuple(name for e in self.members for name, _ in e.targets)

    @property
    def root(self) -> Einsum:
        """The first member that reduces, else the last."""
        return next((e for e in self.members if e.reduce is not None), self.members[-1])

    def steps_of(self, name: str) -> int | None:
        """How many steps of a tensor memory has; None if all."""
        return next((count for rolling, count in self.rolling if rolling == name), None)

    def reads(self) -> tuple[str, ...]:
        """Tensors read from outside the group."""
        own = set(self.names)
        return tuple(dict.fromkeys(name for e in self.members for name in e.reads() if name not in own))


def leave_out(names: Iterable[str], others: Collection[str]) -> tuple[str, ...]:
    """Names that are not among others, in order."""
    return tuple(name for name in names if name not in others)
