"""Choose how a group is computed on a GPU: the schedule that promises most, or, where a machine is at hand, the fastest measured.

A contraction may also be computed by a library of matrix products, and what follows it by a kernel of its own; the tile program stays
what it means. Measured are kernels by themselves: the time of a group is the sum of those of its kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tcomp.ir.cascade import Einsum, Symbol
from tcomp.ir.expressions import Cast, Load
from tcomp.ir.plan import MatrixProduct
from tcomp.ir.target import Gpu
from tcomp.ir.tile import Kernel
from tcomp.passes.bind.arguments import Memory, bind_arguments, merge_ranks
from tcomp.passes.bind.layout import choose_layouts
from tcomp.passes.einsums.group import Group
from tcomp.passes.kinds import lower_group
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.lower.product import find_product
from tcomp.passes.schedule.gpu import gpu_candidates

Measure: TypeAlias = Callable[[Kernel, MatrixProduct | None], float]
"""Seconds that a kernel takes, or the library's product in its place; infinite for one that cannot run."""


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses for the groups of one cascade; tensors that a choice stores besides get their place in `memories`."""

    target: Gpu
    symbols: tuple[Symbol, ...]
    memories: dict[str, Memory]
    static: Mapping[str, bool]
    is_atomic: bool
    measure: Measure | None
    layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of the tensors that a choice stores besides."""

    def choose(self, group: Group) -> tuple[Candidate, ...]:
        """The candidate of each kernel that computes the group, in order."""
        if self.measure is None:
            return (next(self._candidates(group)),)
        whole = self._fastest(group)
        parts = _separate(group)
        if parts is None:
            return (whole[1],)
        layouts = choose_layouts(parts, self.memories, self.static, ())
        library = self._library(parts[0])
        if library is None:
            return (whole[1],)
        rest = [self._fastest(part) for part in parts[1:]]
        if library[0] + sum(seconds for seconds, _ in rest) < whole[0]:
            self.layouts.update(layouts)
            return (library[1], *(candidate for _, candidate in rest))
        return (whole[1],)

    def _candidates(self, group: Group) -> Iterator[Candidate]:
        bound = merge_ranks(bind_arguments(group, self.memories))
        for schedule in gpu_candidates(bound, self.target, "kernel", is_atomic=self.is_atomic):
            kernel, operands = lower_group(bound, schedule, self.symbols)
            yield Candidate(group, schedule, kernel, operands)

    def _fastest(self, group: Group) -> tuple[float, Candidate]:
        """The candidate that took least, the first of those that took equally long."""
        assert self.measure is not None
        found = [(self.measure(candidate.kernel, None), candidate) for candidate in self._candidates(group)]
        return min(found, key=lambda pair: pair[0])

    def _library(self, group: Group) -> tuple[float, Candidate] | None:
        """The library's product, if the group is one."""
        assert self.measure is not None
        bound = merge_ranks(bind_arguments(group, self.memories))
        schedule, *_ = gpu_candidates(bound, self.target, "kernel", is_atomic=self.is_atomic)
        if schedule.joined:
            return None
        kernel, operands = lower_group(bound, schedule, self.symbols)
        names = {operand: name for name, operand in bound.operands.items()}
        product = find_product(bound, [names[operand] for operand in operands])
        if product is None:
            return None
        return self.measure(kernel, product), Candidate(group, replace(schedule, is_library=True), kernel, operands, product)


def _separate(group: Group) -> tuple[Group, ...] | None:
    """A contraction, and as a group of its own what follows it; None for other groups."""
    if group.kind != "contract" or group.members[0].reduce is None:
        return None
    root, *maps = group.members
    if maps and maps[0].index == root.index and _rounds_alone(maps[0], root, group):
        # The library rounds its sums as it stores them.
        root, *maps = replace(root, targets=maps[0].targets), *maps[1:]
    first = Group("contract", (root,), group.outer, stored=(root.name,))
    if not maps:
        return (first,)
    kept = tuple(name for name in group.stored if name != root.name)
    return first, Group("nest", tuple(maps), group.outer, stored=kept)


def _rounds_alone(einsum: Einsum, root: Einsum, group: Group) -> bool:
    """Whether a map only rounds the root of a group, which nothing else reads."""
    rounds = einsum.expression == Cast(einsum.dtype, Load(root.name, root.index))
    return rounds and root.name not in group.stored and sum(root.name in e.reads() for e in group.members) == 1
