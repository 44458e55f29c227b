"""What is told of a stage: its cascade, its schedule, its kernels, and what they use of a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.codegen.triton.files import Resources
from tcomp.ir.parse.plan import parse_plan
from tcomp.passes.cost.work import Work


@dataclass(frozen=True, slots=True)
class KernelReport:
    """One kernel: its source, the einsums it computes at its first call, why they are one kernel, and how often it is called."""

    name: str
    kind: str
    source: str
    einsums: tuple[tuple[str, str], ...]
    """(name, text)."""
    origins: tuple[str, ...]
    """Module paths and lines that the einsums come from."""
    why: str
    loops: str
    """The schedule: tiles, order of loops, parallel ranks, lanes."""
    calls: int
    is_prelude: bool
    """Whether it runs when weights change, not at every call."""
    work: Work
    """The operations and bytes of a call; its tensors are those of the first call."""
    operands: tuple[str, ...]
    """The tensors that the first call is given, in the order of its places in the plan."""


@dataclass(frozen=True, slots=True)
class KernelUse:
    """What a kernel uses of a GPU when it runs: `instances` of so many warps, several of which share a multiprocessor."""

    resources: Resources
    instances: str
    """A number, or an index over symbols."""
    warps: int
    stages: int
    occupancy: float
    """The share of a multiprocessor's warps that are in use."""


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a compiled stage was made from, as text."""

    cascade: str
    """As captured; comments tell where the einsums come from."""
    optimised: str
    """After all passes: what runs when weights change, if anything does, and what runs on every call."""
    einsums: tuple[int, int]
    """How many were captured, and how many are left."""
    schedule: str
    plan: str
    kernels: tuple[KernelReport, ...]


def list_steps(report: StageReport) -> tuple[str, ...]:
    """What runs on every call, in order: each kernel as `tcomp::NAME`, with where the einsums of its first call come from."""
    origins = {kernel.name: kernel.origins for kernel in report.kernels}
    names = [step.kernel for step in parse_plan(report.plan).steps]
    return tuple(f"tcomp::{name}" + (f" ({origins[name][0]})" if origins.get(name) else "") for name in names)
