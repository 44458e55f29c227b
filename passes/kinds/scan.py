"""Iterations, step by step, independently over the ranks that all their members share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tcomp.ir.cascade import Einsum, Iteration, Symbol
from tcomp.ir.target import Cpu, Gpu
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.iteration import is_held, merge_maps, scan_group
from tcomp.passes.groups.prefix import find_prefix
from tcomp.passes.kinds.kind import Kind, Proposal, print_ranks, print_rest
from tcomp.passes.lower.gpu.scan import lower_gpu_scan
from tcomp.passes.lower.scan import lower_scan
from tcomp.passes.schedule import cpu, gpu


def found(statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...]) -> Group | None:
    """A group of an iteration."""
    if not isinstance(statement, Iteration):
        return None
    group = scan_group(statement, symbols)
    return replace(group, fact=find_prefix(group))


def in_memory(group: Group) -> tuple[Einsum, ...]:
    """Members that are neither held nor merged into their readers."""
    return tuple(e for e in merge_maps(group) if not is_held(group, e))


def propose_cpu(bound: Bound, target: Cpu, is_atomic: bool) -> Iterator[Proposal]:
    """Lanes along a rank that all steps share, or along those of each member."""
    return ((schedule, bound.group.again) for schedule in cpu.walk_candidates(bound, target, "kernel"))


def propose_gpu(bound: Bound, target: Gpu, is_atomic: bool) -> Iterator[Proposal]:
    """Independent recurrences side by side, or tiles of steps where they only fold."""
    yield gpu.scan_schedule(bound, target, "kernel"), bound.group.again


def tell(group: Group, is_gpu: bool) -> tuple[str, str]:
    """Along which rank the steps are."""
    assert group.iterative is not None
    alone = f"{group.members[0].name} is computed step by step along {group.iterative.name}, independently over {print_ranks(group)}"
    return alone, f"{print_rest(group)} in the same steps"


SCAN = Kind(
    "scan",
    "`outer` ranks; a serial loop over the iterative rank; the body einsum by einsum",
    tell,
    propose={Cpu: propose_cpu, Gpu: propose_gpu},
    lower={Cpu: lower_scan, Gpu: lower_gpu_scan},
    found=found,
    in_memory=in_memory,
)
