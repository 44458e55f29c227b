"""The plan: which kernels run in which order, at the addresses of what lies in the arena."""

from __future__ import annotations

from collections.abc import Mapping

from tcomp.ir.cascade import Cascade
from tcomp.ir.expressions import Index
from tcomp.ir.plan import ARENA, Place, Plan, Step


def make_plan(
    cascade: Cascade,
    steps: list[tuple[str, tuple[tuple[str, Index], ...]]],
    addresses: Mapping[str, Index],
    arena: Index,
) -> Plan:
    """The calls, at the addresses of what lies in the arena; everything else is external."""
    calls = tuple(
        Step(
            name,
            tuple(Place(ARENA, addresses[t] + offset) if t in addresses else Place(t, offset) for t, offset in operands),
        )
        for name, operands in steps
    )
    names = tuple(dict.fromkeys((*(t.name for t in cascade.inputs), *cascade.outputs)))
    return Plan(names, arena, calls, cascade.symbols)
