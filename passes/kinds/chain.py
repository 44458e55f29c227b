"""Chains: a contraction, maps and reductions along its lanes, and a contraction again, without the tensor between them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tcomp.ir.cascade import Einsum
from tcomp.ir.target import Cpu, Gpu
from tcomp.passes.bind.arguments import Bound, Memory
from tcomp.passes.einsums.group import Group
from tcomp.passes.kinds.kind import Kind, Proposal, list_members, print_ranks
from tcomp.passes.lower.cpu.chain import lower_chain
from tcomp.passes.lower.gpu.chain import lower_gpu_chain
from tcomp.passes.schedule import cpu, gpu
from tcomp.passes.schedule.again import choose_again
from tcomp.passes.schedule.layout import order_contraction


def order(group: Group, einsum: Einsum, memories: Mapping[str, Memory]) -> tuple[int, ...]:
    """As its last part stores it."""
    return order_contraction(group.parts[-1], einsum, memories)


def propose_cpu(bound: Bound, target: Cpu, is_atomic: bool) -> Iterator[Proposal]:
    """A tile of rows that fits registers in both contractions."""
    group = bound.group
    middle = replace(group.parts[1], outer=())
    return ((schedule, choose_again(middle, schedule)) for schedule in cpu.chain_candidates(bound, target, "kernel"))


def propose_gpu(bound: Bound, target: Gpu, is_atomic: bool) -> Iterator[Proposal]:
    """Rows by steps along the rank between the contractions."""
    return ((schedule, frozenset()) for schedule in gpu.chain_candidates(bound, "kernel"))


def tell(group: Group, is_gpu: bool) -> tuple[str, str]:
    """That three kernels are one, and how."""
    first, middle, last = group.parts
    rows, between = f"{first.root.name} and {last.root.name}", list_members(middle.names)
    if is_gpu:
        walked = ", ".join(f"{rank.name}:{rank.extent}" for rank in group.inner)
        alone = f"{rows} are contractions over {print_ranks(group)}, in one pass over {walked} between them"
        return alone, f"{between} run along, and sums are corrected where a maximum that they subtract moves"
    alone = f"{rows} are contractions over {print_ranks(group)}, chained through rows that stay in cache"
    return alone, f"{between} on those rows between them"


CHAIN = Kind(
    "chain",
    "`outer` ranks, one of them a tile of rows; `parts` one after another through a buffer, or on a GPU all in one pass",
    tell,
    propose={Cpu: propose_cpu, Gpu: propose_gpu},
    lower={Cpu: lower_chain, Gpu: lower_gpu_chain},
    order=order,
)
