"""Contractions: sums of a product of two operands, each with a rank of its own; maps on the tile before it is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tcomp.ir.cascade import Einsum, Iteration, Symbol
from tcomp.ir.target import Cpu, Gpu
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.einsums.contraction import find_contraction
from tcomp.passes.einsums.group import Group
from tcomp.passes.kinds.kind import Kind, Proposal, print_ranks, print_rest
from tcomp.passes.lower.cpu.contract import lower_contract
from tcomp.passes.lower.gpu.contract import lower_gpu_contract
from tcomp.passes.schedule import cpu, gpu
from tcomp.passes.schedule.layout import order_contraction


def found(statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...]) -> Group | None:
    """A group of a contraction."""
    if isinstance(statement, Iteration):
        return None
    contraction = find_contraction(statement, static)
    return None if contraction is None else Group(CONTRACT.name, (statement,), statement.free, fact=contraction.fact)


def takes(einsum: Einsum, group: Group) -> Group | None:
    """Maps over exactly the free ranks: the epilogue."""
    fits = einsum.is_map and {r.name for r in einsum.free} == {r.name for r in group.outer}
    return replace(group, members=(*group.members, einsum)) if fits else None


def propose_cpu(bound: Bound, target: Cpu, is_atomic: bool) -> Iterator[Proposal]:
    """Register tiles by counting cycles."""
    return ((schedule, frozenset()) for schedule in cpu.contract_candidates(bound, target, "kernel"))


def propose_gpu(bound: Bound, target: Gpu, is_atomic: bool) -> Iterator[Proposal]:
    """Tiles by counting cycles of tensor cores and bytes."""
    return ((schedule, frozenset()) for schedule in gpu.contract_candidates(bound, target, "kernel"))


def tell(group: Group, is_gpu: bool) -> tuple[str, str]:
    """Which ranks the contraction has, and that maps are computed on its tile."""
    alone = f"{group.members[0].name} is a contraction over {print_ranks(group)}"
    return alone, f"{print_rest(group)} over the same ranks, computed on its tile before it is stored"


CONTRACT = Kind(
    "contract",
    "tiles of the root contraction's free ranks; its reduced ranks inside; epilogue maps on the tile",
    tell,
    propose={Cpu: propose_cpu, Gpu: propose_gpu},
    lower={Cpu: lower_contract, Gpu: lower_gpu_contract},
    found=found,
    takes=takes,
    order=order_contraction,
)
