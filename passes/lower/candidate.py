"""One way to compute a group, lowered."""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.ir.plan import MatrixProduct
from tcomp.ir.schedule import KernelSchedule
from tcomp.ir.tile import Kernel
from tcomp.passes.bind.arguments import Bound, Operand
from tcomp.passes.einsums.group import Group


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute a group; with a product, the library computes it and the kernel says what it computes."""

    group: Group
    bound: Bound
    """The group over the kernel's arguments."""
    schedule: KernelSchedule
    kernel: Kernel
    operands: tuple[Operand, ...]
    product: MatrixProduct | None = None
