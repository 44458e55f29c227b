"""Roll the storage of iterations: memory has as many steps of a tensor as are read, not all of them.

    iterate t:T {
      P: f32[t:T, i:N, j:N] = exp(A[i, j] * S[t, j])                 N * N is too large to be held
      G: f32[t:T, i:N] = max(j:N) P[t, i, j]
      S: f32[t + 1:T + 1, i:N] = sum(j:N) P[t, i, j] / G[t, i] from X[i]
    }
    Z: f32[i:N] = S[T, i]
      =>
    P in memory of f32[1, N, N], at P[0, i, j]; S, which is held, in memory of f32[1, N], for Z to read at S[0, i]

A member is read within its step, and a carried one one step later. So one step is enough where nothing reads an element of the old
step that may have been overwritten, and two are always. Readers outside may find the last step; a tensor of which they read any other
keeps all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import Expr, Index, Load, Ordinal, as_index
from tcomp.ir.target import Gpu, Target
from tcomp.ir.traverse import map_einsum_loads
from tcomp.ir.walk import loads, map_load_indices
from tcomp.passes.einsums.group import Group, rewrite_group
from tcomp.passes.groups.iteration import is_held, merge_maps, own_ranks, step_slot, updates_in_place


def roll_steps(groups: tuple[Group, ...], outputs: Collection[str], target: Target) -> tuple[Group, ...]:
    """Say of how many steps memory has the tensors of iterations, and read the last step where it lies then."""
    places: dict[str, tuple[int, Index]] = {}
    kept = []
    for group in groups:
        # A GPU may fold a tile of steps at once where a step is one element, and store them all.
        is_tiled = isinstance(target, Gpu) and not any(own_ranks(group, e) for e in group.members if group.kind == "scan")
        if group.kind == "scan" and not is_tiled:
            others = [e for other in groups if other is not group for e in other.members]
            rolling = _find_rolling(group, others, outputs)
            group = replace(group, rolling=tuple(rolling.items()))
            assert group.iterative is not None
            for einsum in group.members:
                if einsum.name in rolling:
                    slot = step_slot(einsum, group.iterative.name)
                    last = (einsum.shape[slot] - 1) % rolling[einsum.name]
                    places[einsum.name] = slot, last
        kept.append(group)
    return tuple(_reread(group, places) for group in kept) if places else groups


def roll_index(einsum: Einsum, index: tuple[Index, ...], iterative: str, steps: int | None) -> tuple[Index, ...]:
    """Where an element of a member lies in memory of so many steps; as it is if of all."""
    if steps is None:
        return index
    slot = step_slot(einsum, iterative)
    return tuple(i % steps if place == slot else i for place, i in enumerate(index))


def shape_in_memory(group: Group, einsum: Einsum) -> tuple[Index, ...]:
    """The shape of a member in memory."""
    steps = group.steps_of(einsum.name)
    if steps is None or group.iterative is None:
        return einsum.shape
    slot = step_slot(einsum, group.iterative.name)
    return tuple(as_index(steps) if place == slot else extent for place, extent in enumerate(einsum.shape))


def _find_rolling(group: Group, others: list[Einsum], outputs: Collection[str]) -> dict[str, int]:
    """The steps that memory needs of each stored member that does not need all."""
    assert group.iterative is not None
    members = merge_maps(group)
    found: dict[str, int] = {}
    for einsum in members:
        name = einsum.name
        if name not in group.stored or name in outputs or len(einsum.targets) > 1:
            continue
        slot = step_slot(einsum, group.iterative.name)
        if any(load.index[slot] != einsum.shape[slot] - 1 for load in _loads_of(name, others)):
            continue
        is_carried = einsum.initial is not None
        in_place = is_held(group, einsum) or not is_carried or updates_in_place(members, einsum, group.iterative.name)
        found[name] = 1 if in_place else 2
    return found


def _loads_of(name: str, einsums: list[Einsum]) -> list[Load]:
    parts = [part for e in einsums for part in (e.expression, e.where, e.initial, *(Ordinal(i, i64) for i in e.index))]
    return [load for part in parts if part is not None for load in loads(part) if load.tensor == name]


def _reread(group: Group, places: dict[str, tuple[int, Index]]) -> Group:
    """A group whose reads of other groups' rolling tensors find the last step."""
    own = set(group.names)

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        if load.tensor not in places or load.tensor in own:
            return load
        slot, last = places[load.tensor]
        return Load(load.tensor, tuple(last if place == slot else i for place, i in enumerate(load.index)), load.outside)

    def change(einsum: Einsum) -> Einsum:
        if not any(name in places and name not in own for name in einsum.reads()):
            return einsum
        return map_einsum_loads(einsum, read)

    return rewrite_group(group, change)
