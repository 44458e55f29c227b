"""The plan of a program: which kernels run in which order, and where every tensor lies.

A plan is what remains of a compiled program once kernels exist: the driver code is printed from it, a saved program stores it.

    plan   := "plan" "(" externals ")" "arena" index ["for" symbols] "{" {step} "}"
    step   := KERNEL "(" place {"," place} ")"
    place  := BASE "+" index                      byte offset from an external tensor or from "arena"
"""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.ir.cascade import Symbol, print_symbols
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Index, print_index

ARENA = "arena"


@dataclass(frozen=True, slots=True)
class Matrix:
    """An argument of a kernel, by its number, as a batch of matrices: (batch, rows, columns), strides in elements."""

    argument: int
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """`out = left @ right`, all of one element type: what a library may compute in place of a kernel."""

    dtype: DType
    left: Matrix
    right: Matrix
    out: Matrix


@dataclass(frozen=True, slots=True)
class Place:
    """An address: a byte offset from the start of an external tensor, or of the arena."""

    base: str
    offset: Index


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call; places in the order of the kernel's arguments."""

    kernel: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Kernel calls in order over external tensors and an arena of `arena` bytes."""

    externals: tuple[str, ...]
    arena: Index
    steps: tuple[Step, ...]
    symbols: tuple[Symbol, ...] = ()

    def __str__(self) -> str:
        head = f"plan ({', '.join(self.externals)}) arena {print_index(self.arena)}{print_symbols(self.symbols)} {{"
        lines = [
            f"  {step.kernel}({', '.join(f'{p.base} + {print_index(p.offset)}' for p in step.places)})"
            for step in self.steps
        ]
        return "\n".join([head, *lines, "}"])
