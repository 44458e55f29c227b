"""A kind of kernel, as a record: what it computes, how that can be scheduled and lowered for each target, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from tcomp.ir.cascade import Einsum, Iteration, Symbol
from tcomp.ir.errors import Unsupported
from tcomp.ir.schedule import KernelSchedule
from tcomp.ir.target import Cpu, Gpu
from tcomp.ir.tile import TileStatement
from tcomp.passes.bind.arguments import Bound, Memory
from tcomp.passes.einsums.group import Group
from tcomp.passes.lower.lowering import Lowering

Proposal: TypeAlias = tuple[KernelSchedule, frozenset[str]]
"""A schedule, and the members that are not kept but computed again where they are read."""

Propose: TypeAlias = Callable[[Bound, Any, bool], Iterable[Proposal]]
"""Schedules for a group on a target, the most promising one first; the last argument says whether floats may be added in any order."""

Lower: TypeAlias = Callable[[Lowering], tuple[TileStatement, ...]]
"""The body of a kernel."""

Made = TypeVar("Made")


def takes_nothing(einsum: Einsum, group: Group) -> Group | None:
    """No other einsum joins."""
    return None


def keeps_nothing(group: Group) -> tuple[Einsum, ...]:
    """What nobody else reads needs no memory."""
    return ()


def as_written(group: Group, einsum: Einsum, memories: Mapping[str, Memory]) -> tuple[int, ...]:
    """Dimensions lie as they are written."""
    return tuple(range(len(einsum.index)))


def founds_nothing(statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...]) -> Group | None:
    """Other passes make these groups."""
    return None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of kernel."""

    name: str
    loops: str
    """What is looped over, in a line."""
    tell: Callable[[Group, bool], tuple[str, str]]
    """Why the first member is computed so, and why the others are computed with it; on a GPU or not."""
    propose: Mapping[type, Propose] = field(default_factory=dict)
    """By the type of the target."""
    lower: Mapping[type, Lower] = field(default_factory=dict)
    """By the type of the target."""
    found: Callable[[Einsum | Iteration, Mapping[str, bool], tuple[Symbol, ...]], Group | None] = founds_nothing
    """A group of one statement, where some tensors are made of weights alone; None if the statement is for another kind."""
    takes: Callable[[Einsum, Group], Group | None] = takes_nothing
    """The group with one more einsum, over ranks of the group; None if it does not fit."""
    takes_siblings: bool = False
    """Whether an einsum may join that only reads what a member reads."""
    in_memory: Callable[[Group], tuple[Einsum, ...]] = keeps_nothing
    """Members that are kept in memory even if no other kernel reads them."""
    order: Callable[[Group, Einsum, Mapping[str, Memory]], tuple[int, ...]] = as_written
    """The dimensions of what a member stores, outermost first, as the kernel writes them best."""

    def for_target(self, table: Mapping[type, Made], target: type) -> Made:
        """What a table says of a target. Raises Unsupported if this kind is not made for it."""
        if target not in table:
            name = {Cpu: "a CPU", Gpu: "a GPU"}.get(target, target.__name__)
            raise Unsupported(
                f"there are no kernels of kind {self.name} for {name}",
                where=f"a kernel of kind {self.name}",
                help="compute it by a kernel of another kind",
            )
        return table[target]


Kinds: TypeAlias = Mapping[str, Kind]


def list_members(names: Iterable[str]) -> str:
    """Names in a sentence."""
    *first, last = tuple(names) or ("",)
    return f"{', '.join(first)} and {last}" if first else last


def print_ranks(group: Group) -> str:
    """The outer ranks of a group, with their extents."""
    return ", ".join(f"{rank.name}:{rank.extent}" for rank in group.outer) or "a single point"


def print_rest(group: Group) -> str:
    """The members of a group but the first."""
    return list_members(einsum.name for einsum in group.members[1:])


