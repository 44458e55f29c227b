"""Iterations that are prefixes of a monoid, which may be folded many steps at once."""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Apply, Expr, Load, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.walk import loads
from tcomp.passes.einsums.group import Group, Prefix
from tcomp.passes.groups.iteration import own_ranks, step_slot


@dataclass(frozen=True, slots=True)
class Fold:
    """An iteration that carries `state`, which folds `value` with a monoid; `maps` read the state after each step."""

    state: Einsum
    monoid: str
    value: Expr
    maps: tuple[Einsum, ...]


def prefix_of(group: Group) -> Fold | None:
    """What an iteration folds; None if its steps do more than that."""
    if not isinstance(group.fact, Prefix):
        return None
    state = next(e for e in group.members if e.name == group.fact.state)
    assert isinstance(state.expression, Apply)
    maps = tuple(e for e in group.members if e is not state)
    return Fold(state, group.fact.monoid, state.expression.arguments[group.fact.value], maps)


def find_prefix(group: Group) -> Prefix | None:
    """See a group of an iteration as prefix folds; None if its steps do more than that."""
    assert group.iterative is not None
    carried = [e for e in group.members if e.initial is not None]
    if len(carried) != 1 or any(e.reduce is not None or len(e.targets) > 1 or own_ranks(group, e) for e in group.members):
        return None
    (state,) = carried
    after = Load(state.name, state.index)
    reads = [load for e in group.members if e is not state for load in loads(e.expression) if load.tensor == state.name]
    if any(load != after for load in reads) or any(e.where is not None for e in group.members):
        return None
    product, before = state.expression, state_before(state, group.iterative.name)
    if not isinstance(product, Apply) or len(product.arguments) != 2 or before not in product.arguments:
        return None
    place = 1 if product.arguments[0] == before else 0
    members = {e.name for e in group.members}
    monoid = next((m.name for m in MONOIDS.values() if m.operator == product.operator and m.arity == 1), None)
    is_free = not any(load.tensor in members for load in loads(product.arguments[place]))
    return Prefix(state.name, monoid, place) if monoid is not None and is_free else None


def state_before(state: Einsum, iterative: str) -> Load:
    """What a step of a carried member reads of the step before, where it reads the element that it writes."""
    step = step_slot(state, iterative)
    return Load(state.name, tuple(as_index(iterative) if place == step else i for place, i in enumerate(state.index)))
