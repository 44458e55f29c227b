"""The guess: every decision by the heuristics, and where a machine is at hand, kernels by measuring.

Each kind of kernel has candidates, of which the first promises most. A contraction on a GPU may also be computed by a library of matrix
products, and what follows it by a kernel of its own; the tile program stays what it means. Measured are kernels by themselves: the time
of a group is the sum of those of its kernels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.plan import MatrixProduct
from tcomp.ir.schedule import Packing
from tcomp.ir.target import Cpu, Gpu, Target
from tcomp.ir.tile import Kernel
from tcomp.passes.bind.arguments import Memory, bind_group
from tcomp.passes.bind.layout import lay_out
from tcomp.passes.decisions import Layouts, Placed
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.apart import take_apart
from tcomp.passes.guess.chain import wants_chain
from tcomp.passes.guess.expand import bytes_of, is_worth_expanding
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.guess.packing import choose_packing
from tcomp.passes.guess.parts import choose_parts
from tcomp.passes.guess.rows import choose_cut
from tcomp.passes.guess.sink import choose_sinking
from tcomp.passes.guess.windows import choose_window
from tcomp.passes.kinds.kind import Kinds
from tcomp.passes.kinds.table import KINDS, lower_group, propose
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.lower.product import find_product
from tcomp.passes.plan.plan import plan_memory

Trial: TypeAlias = tuple[Kernel, MatrixProduct | None]
"""A kernel, or the library's product in its place."""


class Measure(Protocol):
    """What times kernels on a target."""

    def __call__(self, trials: Sequence[Trial], /) -> Sequence[float]:
        """Seconds that each of several takes, which compute the same and may take turns; infinite for one that cannot run."""


def find_fastest(candidates: Iterable[Candidate], measure: Measure) -> tuple[float, Candidate]:
    """The candidate that takes least and its seconds; the first of those that take equally long."""
    found = tuple(candidates)
    times = measure([(candidate.kernel, candidate.product) for candidate in found])
    return min(zip(times, found, strict=True), key=lambda pair: pair[0])


@dataclass(frozen=True, slots=True)
class Guess:
    """Decides for one target. `measure` times kernels of what runs at every call, of which the fastest are taken then.

    With `is_strict` no rounding may be left out; with `is_atomic` sums of floats into places that are data may be added in any order.
    The arena of what runs at every call has at most `budget` bytes.
    """

    target: Target
    is_strict: bool = False
    is_atomic: bool = False
    measure: Measure | None = None
    budget: int | None = None
    kinds: Kinds = field(default_factory=lambda: KINDS)

    def is_expanded(self, einsum: Einsum, tensors: Mapping[str, Tensor]) -> bool:
        """If it takes more bytes than a cache has and costs less to compute than to read."""
        return bytes_of(tensors[einsum.name]) > self.target.l2 and is_worth_expanding(einsum, tensors)

    def choose_packing(self, einsum: Einsum, static: Mapping[str, bool], cascade: Cascade) -> Packing | None:
        """In panels of the best register tile."""
        return choose_packing(einsum, static, cascade.symbols, self.target) if isinstance(self.target, Cpu) else None

    def is_prologue(self, einsum: Einsum, tensors: Mapping[str, Tensor]) -> bool:
        """If it costs less to compute than to read."""
        return is_worth_expanding(einsum, tensors)

    def of_prelude(self, cascade: Cascade) -> PartGuess:
        """Its kernels run once: measuring them would take longer than they ever will. Nor is its arena kept."""
        return PartGuess(replace(self, measure=None, budget=None), cascade)

    def of_main(self, cascade: Cascade) -> PartGuess:
        """Its kernels are measured, if any are."""
        return PartGuess(self, cascade)


@dataclass(slots=True)
class PartGuess:
    """Decides for one cascade."""

    guess: Guess
    cascade: Cascade

    @property
    def target(self) -> Target:
        """The machine."""
        return self.guess.target

    def fuse(self, cascade: Cascade) -> tuple[Group, ...]:
        """Greedily, statement by statement."""
        return fuse(cascade, self.guess.kinds)

    def choose_sinking(self, groups: tuple[Group, ...]) -> frozenset[str]:
        """All that can, unless more would live at once."""
        return choose_sinking(groups, self.cascade)

    def is_wide(self, name: str) -> bool:
        """Wherever numerics need not be strict."""
        return not self.guess.is_strict

    def is_chained(self, chain: Group) -> bool:
        """If what is between the kernels leaves the cache."""
        return wants_chain(chain, self.target)

    def choose_parts(self, group: Group, einsum: Einsum) -> tuple[str, int] | None:
        """As many as keep the multiprocessors busy."""
        assert isinstance(self.target, Gpu)
        dtypes = {name: tensor.dtype for name, tensor in self.cascade.tensors().items()}
        return choose_parts(group, einsum, dtypes, self.target, is_atomic=self.guess.is_atomic)

    def choose_cut(self, group: Group) -> tuple[str, int] | None:
        """As many as keep the cores busy."""
        return choose_cut(group)

    def is_apart(self, group: Group) -> bool:
        """Only if measured to be better (`choose`)."""
        return False

    def arrange(self, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        """In the order of fusion."""
        return groups

    def choose_window(self, group: Group, need: int) -> int:
        """As many as a cache holds."""
        return choose_window(group, need, self.target) if isinstance(self.target, Cpu) else 0

    def choose_order(self, group: Group, einsum: Einsum, name: str, memories: Mapping[str, Memory]) -> tuple[int, ...]:
        """As the kernel that stores it writes best."""
        return self.guess.kinds[group.kind].order(group, einsum, memories)

    def choose(self, group: Group, seen: Mapping[str, Memory], steps: tuple[int, int] | None, layouts: Layouts) -> Sequence[Candidate]:
        """The first candidate, or the one measured to be the fastest."""
        measure = self.guess.measure
        if measure is None:
            return (next(self._candidates(group, seen, steps)),)
        candidates = list(self._candidates(group, seen, steps))
        parts = take_apart(group) if isinstance(self.target, Gpu) else None
        if parts is None and len({candidate.kernel for candidate in candidates}) == 1:
            # Where there is no choice there is nothing to wait for.
            return candidates[:1]
        seconds, whole = find_fastest(candidates, measure)
        if parts is None:
            return (whole,)
        memories = dict(layouts.memories)
        orders = lay_out(parts, memories, self.choose_order, ())
        library = self._find_library(parts[0], memories)
        if library is None:
            return (whole,)
        found = [find_fastest((library,), measure)]
        found += [find_fastest(self._candidates(part, memories, None), measure) for part in parts[1:]]
        if sum(taken for taken, _ in found) >= seconds:
            return (whole,)
        layouts.orders.update(orders)
        layouts.memories.update(memories)
        return tuple(candidate for _, candidate in found)

    def _candidates(self, group: Group, memories: Mapping[str, Memory], steps: tuple[int, int] | None) -> Iterator[Candidate]:
        bound = bind_group(group, memories)
        kinds = self.guess.kinds
        for schedule, again in propose(bound, self.target, is_atomic=self.guess.is_atomic, kinds=kinds):
            yield lower_group(group, bound, replace(schedule, steps=steps), self.cascade.symbols, again, kinds)

    def _find_library(self, group: Group, memories: Mapping[str, Memory]) -> Candidate | None:
        """The library's product, if the group is one."""
        candidate = next(self._candidates(group, memories, None))
        product = find_product(candidate)
        schedule = replace(candidate.schedule, is_library=True)
        return None if product is None else replace(candidate, schedule=schedule, product=product)

    def place(self, kernels: Sequence[Candidate], memories: Mapping[str, Memory], external: frozenset[str]) -> Placed:
        """As the planner says. Raises BudgetError if no plan meets the budget."""
        planned = plan_memory(kernels, memories, external, self.cascade, self.target, self.guess.budget)
        return Placed(planned.candidates, planned.addresses, planned.arena)
