"""What the pipeline makes of a cascade, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tcomp.ir.cascade import Cascade
from tcomp.ir.plan import MatrixProduct, Plan
from tcomp.ir.schedule import Schedule
from tcomp.ir.tile import Kernel
from tcomp.passes.bind.arguments import Memory, print_memory
from tcomp.passes.einsums.group import Group

Observer: TypeAlias = Callable[[str, object], None]
"""Called with the name of each stage and its result, for dumps and verification between passes."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled cascade: kernels by name, in what order they run on which memory, and how that came about."""

    cascade: Cascade
    groups: tuple[Group, ...]
    schedule: Schedule
    kernels: tuple[tuple[str, Kernel], ...]
    plan: Plan
    steps: tuple[str, ...]
    """The kernel of each group, in order."""
    products: tuple[tuple[str, MatrixProduct], ...] = ()
    """Kernels that a library of matrix products computes, by name, and what it is to compute."""
    operands: tuple[tuple[str, ...], ...] = ()
    """The tensors that each step is given, in the order of its places."""
    memories: tuple[tuple[str, Memory], ...] = ()
    """How every tensor lies in memory, by name."""

    def __str__(self) -> str:
        """Where each tensor lies, which is what no other text of a compilation tells."""
        addresses = dict(self.schedule.addresses)
        return "\n".join(
            f"{name}: {print_memory(memory)} at {f'arena + {addresses[name]}' if name in addresses else name}"
            for name, memory in self.memories
        )


@dataclass(frozen=True, slots=True)
class Compiled:
    """The two programs of a cascade: `prelude` runs when weights change, `main` on every call; and the schedule of both."""

    source: Cascade
    prelude: Program
    main: Program
    schedule: Schedule
