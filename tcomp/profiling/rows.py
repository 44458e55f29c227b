"""The rows of a profile: what was measured and counted of one step, and what the machine needs at least for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tcomp.codegen.timing import Spread

Limit: TypeAlias = Literal["compute", "memory"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The least seconds that the machine takes for the operations of a step and for its bytes."""

    compute: float
    memory: float

    @property
    def seconds(self) -> float:
        """The roofline: the larger of the two."""
        return max(self.compute, self.memory)

    @property
    def limit(self) -> Limit:
        """Which of the two that is."""
        return "compute" if self.compute > self.memory else "memory"


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A step of a call: a kernel, or an operator that is left to PyTorch, of which there is a time alone."""

    step: int
    """Its number in the order in which steps run, from 1."""
    name: str
    is_kernel: bool
    computes: str
    """The tensors that a kernel computes, by the names that `tcomp.explain` gives them; why an operator was not compiled."""
    origin: str
    """Module and line that it comes from, of a kernel of several calls those of its first."""
    seconds: Spread
    operations: int | None
    """As `tcomp.passes.cost.work` counts them."""
    bytes: int | None
    """Those that have to be moved, counted there as well."""
    bound: Bound | None
    """Absent where nothing is to be moved or computed, or the machine was not measured."""

    @property
    def roofline_share(self) -> float | None:
        """The time that the machine takes at least, over the time that was measured."""
        return None if self.bound is None else self.bound.seconds / self.seconds.median
