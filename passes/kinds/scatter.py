"""Scatters, which store where their indices say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tcomp.ir.cascade import Einsum, Iteration, Symbol
from tcomp.ir.target import Cpu, Gpu
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.einsums.group import Group
from tcomp.passes.kinds.kind import Kind, Proposal, print_ranks, print_rest
from tcomp.passes.lower.gpu.scatter import lower_gpu_scatter
from tcomp.passes.lower.scatter import lower_scatter
from tcomp.passes.schedule import cpu, gpu


def found(statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...]) -> Group | None:
    """A group of a scatter."""
    if isinstance(statement, Iteration) or not statement.is_scatter:
        return None
    return Group(SCATTER.name, (statement,), statement.free)


def in_memory(group: Group) -> tuple[Einsum, ...]:
    """All: points are folded into memory."""
    return group.members


def propose_cpu(bound: Bound, target: Cpu, is_atomic: bool) -> Iterator[Proposal]:
    """Lanes along a rank that passes through."""
    return ((schedule, frozenset()) for schedule in cpu.walk_candidates(bound, target, "kernel"))


def propose_gpu(bound: Bound, target: Gpu, is_atomic: bool) -> Iterator[Proposal]:
    """All points at once, or one after another."""
    yield gpu.scatter_schedule(bound, "kernel", is_atomic=is_atomic), frozenset()


def tell(group: Group, is_gpu: bool) -> tuple[str, str]:
    """That indices say where things go."""
    return f"{group.members[0].name} stores where its indices say, independently over {print_ranks(group)}", f"{print_rest(group)} with it"


SCATTER = Kind(
    "scatter",
    "`outer` ranks (the bare slots); serial loops over the reduced ranks, folding into memory",
    tell,
    propose={Cpu: propose_cpu, Gpu: propose_gpu},
    lower={Cpu: lower_scatter, Gpu: lower_gpu_scatter},
    found=found,
    in_memory=in_memory,
)
