"""What the pipeline carries from pass to pass: a cascade whose operands are being prepared, then kernels that are being made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tcomp.ir.cascade import Cascade, Einsum
from tcomp.ir.expressions import Index
from tcomp.ir.schedule import GroupSchedule, Packing
from tcomp.ir.target import Target
from tcomp.passes.decisions import Decisions, Layouts, PartDecisions, Placed
from tcomp.passes.einsums.group import Group
from tcomp.passes.lower.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Whole:
    """A cascade, the strides of its inputs and outputs in elements, and what has been decided of its operands."""

    cascade: Cascade
    outside: Mapping[str, tuple[Index, ...]]
    target: Target
    decide: Decisions
    pinned: frozenset[str] = frozenset()
    """Tensors whose dimensions lie in memory as they are written."""
    expanded: tuple[str, ...] = ()
    """Constants of positions that are computed where they are read."""
    packings: tuple[Packing, ...] = ()
    prologues: Mapping[str, Einsum] = field(default_factory=dict)
    """Maps of weights that contractions compute, as expressions over weights."""

    def __str__(self) -> str:
        return str(self.cascade)


@dataclass(frozen=True, slots=True)
class Part:
    """The prelude, or what runs at every call, on its way to kernels."""

    cascade: Cascade
    outside: Mapping[str, tuple[Index, ...]]
    target: Target
    decide: PartDecisions
    is_strict: bool
    pinned: frozenset[str]
    prologues: Mapping[str, Einsum]
    groups: tuple[Group, ...] = ()
    fates: tuple[GroupSchedule, ...] = ()
    """What became of groups that are no kernels."""
    layouts: Layouts | None = None
    kernels: tuple[Candidate, ...] = ()
    placed: Placed | None = None

    def __str__(self) -> str:
        """The kernel of each group and what it stores, which is what no other text tells before there are kernels."""
        return "\n".join(
            f"{group.kind}({', '.join(group.names)}) stores {', '.join(group.stored) or 'nothing'}" for group in self.groups
        )
