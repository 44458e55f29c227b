"""The plan: which kernels run in which order, what is written in place, and the addresses of what lies in the arena.

Without a budget kernels run in the order in which they come, results are written in place where that saves a cache, and tensors are
placed largest first. With one, plans are tried from the cheapest to the dearest until one fits:

    as without a budget               nothing is lost
    results in place where they can   more kernels to compile, since fewer are alike
    kernels in another order          what one writes may have left the cache when another reads it
    that, and results in place
    results in place, then ordered    the order knows what is in place, and more may be afterwards

Each with one placement after another, since where a tensor lies costs a call nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tcomp.ir.cascade import Cascade
from tcomp.ir.errors import BudgetError
from tcomp.ir.expressions import Index
from tcomp.ir.plan import ARENA, Place, Plan, Step
from tcomp.ir.target import Cpu, Target
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.plan.greedy import try_placements
from tcomp.passes.plan.in_place import join_dying, write_in_place
from tcomp.passes.plan.lifetimes import Lifetime, align, find_lives, live_bytes, smallest_bytes, smallest_lives
from tcomp.passes.plan.order import find_dependences, order_steps

MOST_NAMED = 8
"""Tensors that an error names."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Kernels in the order in which they run, with what is written in place, and where tensors lie in an arena of so many bytes."""

    candidates: tuple[Candidate, ...]
    homes: Mapping[str, str]
    """The tensor whose place each one has that is written over another."""
    addresses: Mapping[str, Index]
    """Byte offsets in the arena, also of those that are written over others."""
    arena: Index
    lives: tuple[Lifetime, ...]
    """At the smallest sizes, as are the next two."""
    need: int
    """Bytes of the arena."""
    alive: int
    """Bytes alive at once, at the step where they are most: no placement needs less."""


def plan_memory(
    candidates: Sequence[Candidate],
    memories: Mapping[str, Memory],
    external: Collection[str],
    cascade: Cascade,
    target: Target,
    budget: int | None = None,
) -> Planned:
    """Decide order, in-place results and addresses of the kernels of a cascade, whose `external` tensors have memory of their own.

    With a `budget`, the bytes that the arena may have (at the smallest sizes, where it depends on any), the cheapest plan that fits.
    Raises BudgetError if none does, which says what the smallest found needs, and what is alive where that is most.
    """
    smallest: Planned | None = None
    for planned in _try_plans(candidates, memories, external, cascade, target):
        if budget is None or planned.need <= budget:
            return planned
        if smallest is None or planned.need < smallest.need:
            smallest = planned
    assert smallest is not None and budget is not None
    raise _refuse(smallest, budget, cascade.name)


def _try_plans(
    candidates: Sequence[Candidate], memories: Mapping[str, Memory], external: Collection[str], cascade: Cascade, target: Target
) -> Iterator[Planned]:
    """Plans, in order of what they cost."""
    tried: set[tuple[Lifetime, ...]] = set()
    for kernels, homes in _arrange(candidates, memories, external, cascade, target):
        lives = find_lives(kernels, memories, external)
        if lives in tried:
            continue
        tried.add(lives)
        smallest = smallest_lives(lives, cascade.symbols)
        alive = max(live_bytes(smallest, len(kernels)), default=0)
        for addresses, arena in try_placements(lives):
            addresses.update((name, addresses[home]) for name, home in homes.items())
            need = smallest_bytes(arena, cascade.symbols)
            yield Planned(tuple(kernels), homes, addresses, arena, smallest, need, alive)
            if need <= alive:
                break


def _arrange(
    candidates: Sequence[Candidate], memories: Mapping[str, Memory], external: Collection[str], cascade: Cascade, target: Target
) -> Iterator[tuple[list[Candidate], Mapping[str, str]]]:
    """Kernels in some order with something written in place, and whose place each tensor has then, from cheap to dear."""
    if not isinstance(target, Cpu):
        # Nothing in place: threads of one instance are not held to the order in which it reads and writes memory.
        yield list(candidates), {}
        yield _reorder(candidates, memories, external, cascade), {}
        return
    # Less than a cache is not worth a kernel that is like another.
    yield write_in_place(candidates, memories, external, target.l2)
    joined, homes = join_dying(candidates, memories, external)
    yield joined, homes
    ordered = _reorder(candidates, memories, external, cascade)
    yield ordered, {}
    yield join_dying(ordered, memories, external)
    if homes:
        again, more = join_dying(_reorder(joined, memories, external, cascade), memories, external)
        yield again, {name: more.get(home, home) for name, home in homes.items()} | more


def _reorder(
    candidates: Sequence[Candidate], memories: Mapping[str, Memory], external: Collection[str], cascade: Cascade
) -> list[Candidate]:
    """The kernels in an order in which fewer bytes are alive at once, at the smallest sizes."""
    lives = smallest_lives(find_lives(candidates, memories, external), cascade.symbols)
    touched = [[operand.tensor for operand in candidate.operands] for candidate in candidates]
    order = order_steps(touched, find_dependences(candidates), {life.name: align(life.size.constant) for life in lives})
    return [candidates[step] for step in order]


def _refuse(planned: Planned, budget: int, name: str) -> BudgetError:
    """The error of a budget that the smallest plan does not meet."""
    need = live_bytes(planned.lives, len(planned.candidates))
    step = need.index(planned.alive)
    candidate = planned.candidates[step]
    origin = next((f" ({einsum.source})" for einsum in candidate.group.members if str(einsum.source)), "")
    alive = sorted((life for life in planned.lives if life.first <= step <= life.last), key=lambda life: (-life.size.constant, life.name))
    named = [f"{life.name} {align(life.size.constant)}" for life in alive[:MOST_NAMED]]
    others = f" and {len(alive) - len(named)} more" if len(alive) > len(named) else ""
    used = {operand.tensor for operand in candidate.operands}
    own = sum(align(life.size.constant) for life in alive if life.name in used)
    return BudgetError(
        f"intermediate tensors need {planned.need} bytes, the budget is {budget}",
        where="\n".join(
            [
                f"the arena of {name}",
                f"step {step + 1} of {len(need)}, which makes {', '.join(candidate.group.stored)}{origin}",
                f"{planned.alive} bytes are alive then, wherever they lie, and {own} in any order: what the step itself needs",
                ", ".join(named) + others,
            ]
        ),
        help=f"raise memory_budget to {planned.need}, or compile for smaller inputs",
    )


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
