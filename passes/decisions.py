"""What has to be decided between a cascade and its kernels: the pipeline asks, in this order, and does as it is told.

Who answers is a guess (`tcomp.passes.choose`), or a schedule that was given (`tcomp.passes.given`). Passes offer what is legal, so an
answer can only choose among that; what a given schedule says beside it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.expressions import Index
from tcomp.ir.schedule import Packing
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.einsums.group import Group
from tcomp.passes.lower.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Placed:
    """Kernels in their order, some of which write a result over an argument, and where what lies in the arena is, in bytes."""

    kernels: tuple[Candidate, ...]
    addresses: Mapping[str, Index]
    arena: Index


@dataclass(frozen=True, slots=True)
class Layouts:
    """How every tensor lies in memory, and the order of the dimensions of those that do not lie as they are written."""

    memories: dict[str, Memory]
    orders: dict[str, tuple[int, ...]]


class Decisions(Protocol):
    """Of a whole program: how the operands of its contractions are prepared."""

    def is_expanded(self, einsum: Einsum, tensors: Mapping[str, Tensor]) -> bool:
        """Whether a constant of positions is computed where it is read."""

    def choose_packing(self, einsum: Einsum, static: Mapping[str, bool], cascade: Cascade) -> Packing | None:
        """Which operand of a contraction is packed, and how wide; `static` says which tensors are made of weights alone."""

    def is_prologue(self, einsum: Einsum, tensors: Mapping[str, Tensor]) -> bool:
        """Whether a map of weights, which is told as an expression over them, is computed by the contractions that read it."""

    def of_prelude(self, cascade: Cascade) -> PartDecisions:
        """Those on what is computed once."""

    def of_main(self, cascade: Cascade) -> PartDecisions:
        """Those on what is computed at every call."""


class PartDecisions(Protocol):
    """Of the prelude, or of what runs at every call: kernels and their memory."""

    def fuse(self, cascade: Cascade) -> tuple[Group, ...]:
        """Which einsums are fused; `cascade` is without what is expanded."""

    def choose_sinking(self, groups: tuple[Group, ...]) -> frozenset[str]:
        """The tensors whose maps are computed in the map that alone reads them."""

    def is_wide(self, name: str) -> bool:
        """Whether a narrow float stays wide inside its kernel."""

    def is_chained(self, chain: Group) -> bool:
        """Whether three kernels become one."""

    def choose_parts(self, group: Group, einsum: Einsum) -> tuple[str, int] | None:
        """Which rank of a group's reduction is cut into how many parts, for a GPU."""

    def choose_cut(self, group: Group) -> tuple[str, int] | None:
        """Which rank of the rows of a nest is cut into how many parts, for a CPU."""

    def is_apart(self, group: Group) -> bool:
        """Whether a contraction and the maps on its tile are two kernels."""

    def arrange(self, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        """The groups in the order in which their kernels run."""

    def choose_window(self, group: Group, need: int) -> int:
        """How many steps of an iteration are computed in turn; `need` is in bytes of a step. 0 for all at once."""

    def choose_order(self, group: Group, einsum: Einsum, name: str, memories: Mapping[str, Memory]) -> tuple[int, ...]:
        """In which order the dimensions of a tensor lie in memory."""

    def choose(self, group: Group, seen: Mapping[str, Memory], steps: tuple[int, int] | None, layouts: Layouts) -> Sequence[Candidate]:
        """The kernel of a group, which sees memories so, for some steps of an iteration, or for all.

        Several kernels if measuring says that they are better apart; what is between them is laid out here.
        """

    def place(self, kernels: Sequence[Candidate], memories: Mapping[str, Memory], external: frozenset[str]) -> Placed:
        """Where everything lies."""
