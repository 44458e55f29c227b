"""Nests: maps over common ranks, and reductions of the inner ones; and fills, which are maps that scatters then store among."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tcomp.ir.cascade import Einsum, Iteration, Symbol
from tcomp.ir.target import Cpu, Gpu
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.einsums.group import Group, may_be_own, own_ranks
from tcomp.passes.kinds.kind import Kind, Proposal, print_ranks, print_rest
from tcomp.passes.lower.gpu.nest import lower_gpu_nest
from tcomp.passes.lower.nest import lower_nest
from tcomp.passes.schedule import cpu, gpu
from tcomp.passes.schedule.again import choose_again
from tcomp.passes.schedule.layout import order_nest


def found(statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...]) -> Group | None:
    """A group of any einsum that does not store where data say."""
    if isinstance(statement, Iteration) or statement.is_scatter:
        return None
    return Group(NEST.name, (statement,), statement.free, statement.reduced)


def takes(einsum: Einsum, group: Group) -> Group | None:
    """Maps over the outer, or outer and inner ranks, and reductions of the inner ranks.

    A nest of maps alone becomes one with inner ranks when a reduction over some of its ranks joins. Before that it takes maps over the
    outer ranks and one of their own, which join two parts to pairs.
    """
    free, reduced = {r.name for r in einsum.free}, {r.name for r in einsum.reduced}
    outer, inner = {r.name for r in group.outer}, {r.name for r in group.inner}
    larger = replace(group, members=(*group.members, einsum))
    if einsum.is_map:
        is_paired = not inner and outer < free and all(may_be_own(einsum, r) for r in own_ranks(group, einsum))
        return larger if free in (outer, outer | inner) or is_paired else None
    if len(einsum.targets) > 1:
        return None
    if inner:
        return larger if (free, reduced) == (outer, inner) else None
    if free | reduced != outer or free & reduced or any(own_ranks(group, e) for e in group.members):
        return None
    return replace(
        larger,
        outer=tuple(r for r in group.outer if r.name in free),
        inner=tuple(r for r in group.outer if r.name in reduced),
    )


def propose_cpu(bound: Bound, target: Cpu, is_atomic: bool) -> Iterator[Proposal]:
    """Lanes along the rank that most accesses walk by neighbours."""
    return ((schedule, choose_again(bound.group, schedule)) for schedule in cpu.nest_candidates(bound, target, "kernel"))


def propose_gpu(bound: Bound, target: Gpu, is_atomic: bool) -> Iterator[Proposal]:
    """Whole rows where they fit, tiles of points otherwise."""
    yield gpu.nest_schedule(bound, target, "kernel"), frozenset()


def tell(group: Group, is_gpu: bool) -> tuple[str, str]:
    """Which ranks there are, and that what is read is shared."""
    inner = ", ".join(f"{rank.name}:{rank.extent}" for rank in group.inner)
    alone = f"{group.members[0].name} runs over {print_ranks(group)}" + (f", inside it over {inner}" if inner else "")
    return alone, f"{print_rest(group)} over the same ranks, so that what they share is read once"


def tell_fill(group: Group, is_gpu: bool) -> tuple[str, str]:
    """That others are stored among these values."""
    alone = f"{group.members[0].name} gets the values over {print_ranks(group)} that others are then stored among"
    return alone, f"{print_rest(group)} with it"


NEST = Kind(
    "nest",
    "`outer` ranks shared by all members; per phase, one loop over the `inner` ranks (none: a pure map)",
    tell,
    propose={Cpu: propose_cpu, Gpu: propose_gpu},
    lower={Cpu: lower_nest, Gpu: lower_gpu_nest},
    found=found,
    takes=takes,
    takes_siblings=True,
    order=order_nest,
)

FILL = Kind("fill", "a map that fills the target of a scatter", tell_fill, propose={Gpu: propose_gpu}, lower={Gpu: lower_gpu_nest})
