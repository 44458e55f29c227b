"""Iterations that are prefixes of a monoid, which may be folded many steps at once."""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Apply, Expr, Load, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.walk import loads
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.iteration import own_ranks, step_slot


@dataclass(frozen=True, slots=True)
class Prefix:
    """An iteration that carries `state`, which folds `value` with a monoid; `maps` read the state after each step."""

    state: Einsum
    monoid: str
    value: Expr
    maps: tuple[Einsum, ...]


def find_prefix(group: Group) -> Prefix | None:
    """See a group of an iteration as prefix folds; None if its steps do more than that."""
    assert group.iterative is not None
    t = as_index(group.iterative.name)
    carried = [e for e in group.members if e.initial is not None]
    if len(carried) != 1 or any(e.reduce is not None or len(e.targets) > 1 or own_ranks(group, e) for e in group.members):
        return None
    (state,) = carried
    step = step_slot(state, group.iterative.name)
    before = Load(state.name, tuple(t if k == step else i for k, i in enumerate(state.index)))
    after = Load(state.name, state.index)
    maps = tuple(e for e in group.members if e is not state)
    reads = [load for e in maps for load in loads(e.expression) if load.tensor == state.name]
    if any(load != after for load in reads) or any(e.where is not None for e in group.members):
        return None
    product = state.expression
    if not isinstance(product, Apply) or len(product.arguments) != 2 or before not in product.arguments:
        return None
    left, right = product.arguments
    value = right if left == before else left
    members = {e.name for e in group.members}
    monoid = next((m.name for m in MONOIDS.values() if m.operator == product.operator and m.arity == 1), None)
    is_free = not any(load.tensor in members for load in loads(value))
    return Prefix(state, monoid, value, maps) if monoid is not None and is_free else None
