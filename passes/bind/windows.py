"""Compute what an iteration reads step by step a window of steps at a time, rather than for all steps before the first.

    P: f32[t:1024, i:4, j:2048] = sum(r:512) X[t, i, r] * W[j, r]                            33 MB, of which a step reads 32 KB
    iterate t:1024 { ... S: f32[t + 1:1025, i:4, k:512] = tanh(P[t, i, k] + ...) from 0.0 }
      =>  32 times
    P: f32[t:32, i:4, j:2048] = sum(r:512) X[t, i, r] * W[j, r]                              X as it lies from step 0, 32, 64, ...
    iterate t:32 { ... S: f32[t + 1:1025, i:4, k:512] = tanh(P[t, i, k] + ...) from S }

All windows are the same kernels, given views of their steps. The iteration goes on from where memory has the last step of the window
before, so whatever it carries is stored, of as many steps as are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import mul
from typing import TypeAlias

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.expressions import ONE, ZERO, Load, Ordinal, as_index
from tcomp.ir.traverse import einsum_loads, parts
from tcomp.ir.walk import index_variables, walk
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.einsums.group import Group, Window, rewrite_group
from tcomp.passes.groups.iteration import is_held, merge_maps, step_slot, updates_in_place


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A group that is computed for all steps ahead of the iteration that alone reads it, and what it calls the steps."""

    place: int
    rank: Rank
    bytes: int
    """Of one step."""


def open_windows(groups: tuple[Group, ...], outputs: Collection[str], choose: Callable[[Group, int], int]) -> tuple[Group, ...]:
    """Mark iterations to run in windows, and the groups that are computed window by window for them.

    `choose` says for an iteration, of which each step reads so many bytes that are computed for it, how many steps a window has; 0 for
    all at once.
    """
    found = list(groups)
    for place, group in enumerate(groups):
        if group.kind != "scan" or group.iterative is None or not group.iterative.extent.is_constant:
            continue
        moving = _find_moving(group, group.iterative.name)
        if moving is None:
            continue
        ahead = [a for p in range(place) if (a := _find_ahead(groups, p, place, moving, outputs)) is not None]
        steps = choose(group, sum(a.bytes for a in ahead))
        if not steps:
            continue
        window = Window(group.names[0], steps)
        found[place] = _carry(replace(group, window=window))
        for a in ahead:
            first = groups[a.place]
            rolling = tuple((name, steps) for name in first.stored)
            found[a.place] = replace(first, window=window, iterative=a.rank, rolling=rolling)
    return tuple(found)


Steps: TypeAlias = tuple[int, int]


def run_windows(
    groups: tuple[Group, ...], memories: Mapping[str, Memory]
) -> Iterator[tuple[Group, Mapping[str, Memory], Steps | None]]:
    """The groups in the order in which they run, each as often as it does: with the tensors as it sees them, and its steps."""
    for group in groups:
        if group.window is None:
            yield group, memories, None
        elif group.kind == "scan":
            together = [g for g in groups if g.window == group.window]
            # Of what memory has a few steps only, every window has the same.
            few = {name for part in together for name, _ in part.rolling}
            assert group.iterative is not None
            whole, steps = group.iterative.extent.constant, group.window.steps
            for first in range(0, whole, steps):
                for part in together:
                    count = min(steps, whole - first)
                    yield _cut(part, count, is_first=first == 0), _see(part, memories, few, first, count), (first, first + count)


def _find_moving(group: Group, t: str) -> dict[str, tuple[int, int]] | None:
    """Of each tensor from outside that is read step by step, the dimension along which it is, and how far beyond the step.

    None if something depends on the step in any other way, so that no window is like the next.
    """
    moving: dict[str, tuple[int, int]] = {}
    still: set[str] = set()
    own = set(group.names)
    for einsum in group.members:
        if len(einsum.targets) > 1 or _counts(einsum, t):
            return None
        for load in einsum_loads(einsum):
            slots = [k for k, i in enumerate(load.index) if t in index_variables(i)]
            if not slots:
                still.add(load.tensor)
                continue
            ahead = load.index[slots[0]] - as_index(t)
            # A member is read at its own steps, however its other dimensions are.
            is_partial = load.outside is not None and load.tensor not in own
            if len(slots) > 1 or not ahead.is_constant or ahead.constant < 0 or is_partial:
                return None
            slot, most = moving.get(load.tensor, (slots[0], 0))
            if slot != slots[0]:
                return None
            moving[load.tensor] = slot, max(most, ahead.constant)
    return None if still & (moving.keys() | own) else moving


def _counts(einsum: Einsum, t: str) -> bool:
    """Whether an einsum takes the number of the step for a value."""
    nodes = (node for part in parts(replace(einsum, index=())) for node in walk(part))
    return any(isinstance(node, Ordinal) and t in index_variables(node.index) for node in nodes)


def _find_ahead(
    groups: tuple[Group, ...], place: int, reader: int, moving: Mapping[str, tuple[int, int]], outputs: Collection[str]
) -> _Ahead | None:
    """How a group is computed ahead of its reader, an iteration; None if that is not the only reader, or needs more than its step."""
    group = groups[place]
    if group.kind not in ("contract", "nest") or group.window is not None or not group.stored:
        return None
    if any(moving.get(name, (0, 1))[1] for name in group.stored) or set(group.stored) & set(outputs):
        return None
    others = (other for number, other in enumerate(groups) if number not in (place, reader))
    if any(set(group.stored) & set(other.reads()) for other in others):
        return None
    tables = {name: (e, dtype) for e in group.members for name, dtype in e.targets}
    names = {tables[name][0].index[moving[name][0]].as_variable for name in group.stored}
    rank = next((r for r in group.outer if r.name in names), None)
    if len(names) != 1 or rank is None or not all(any(i == as_index(rank.name) for i in e.index) for e in group.members):
        return None
    if _find_moving(group, rank.name) is None:
        return None
    sizes = [reduce(mul, tables[name][0].shape, ONE) * tables[name][1].bytes for name in group.stored]
    if not all(size.is_constant for size in sizes):
        return None
    return _Ahead(place, rank, sum(size.constant for size in sizes) // rank.extent.constant)


def _carry(group: Group) -> Group:
    """The iteration with all that it carries in memory."""
    assert group.iterative is not None
    t = group.iterative.name
    members = merge_maps(group)
    more = {
        e.name: 1 if is_held(group, e) or updates_in_place(members, e, t) else 2
        for e in members
        if e.initial is not None and e.name not in group.stored
    }
    return replace(group, stored=(*group.stored, *more), rolling=(*group.rolling, *more.items()))


def _cut(group: Group, count: int, *, is_first: bool) -> Group:
    """The group over the steps of one window."""
    assert group.iterative is not None
    rank = Rank(group.iterative.name, as_index(count))

    def cut(einsum: Einsum) -> Einsum:
        slot = step_slot(einsum, rank.name)
        beyond = einsum.index[slot] - as_index(rank.name)
        shape = tuple(rank.extent + beyond if k == slot else extent for k, extent in enumerate(einsum.shape))
        if einsum.initial is None or is_first:
            return replace(einsum, shape=shape)
        here = tuple(ZERO if k == slot else i for k, i in enumerate(einsum.index))
        return replace(einsum, shape=shape, initial=Load(einsum.name, here))

    outer = tuple(rank if r.name == rank.name else r for r in group.outer)
    return replace(rewrite_group(group, cut), outer=outer, iterative=rank)


def _see(group: Group, memories: Mapping[str, Memory], few: Collection[str], first: int, count: int) -> dict[str, Memory]:
    """Memories as one window of a group sees them: what lies step by step begins at its first step."""
    assert group.iterative is not None
    t = group.iterative.name
    moving = _find_moving(group, t)
    assert moving is not None
    reaches = {name: (slot, most + 1) for name, (slot, most) in moving.items() if name not in group.names}
    for einsum in group.members:
        slot = step_slot(einsum, t)
        reaches.update((name, (slot, 1 + (einsum.index[slot] - as_index(t)).constant)) for name, _ in einsum.targets)
    seen = dict(memories)
    for name, (slot, reach) in reaches.items():
        if name in memories and name not in few:
            memory = memories[name]
            shape = tuple(as_index(count + reach - 1) if k == slot else extent for k, extent in enumerate(memory.shape))
            seen[name] = replace(memory, shape=shape, offset=memory.offset + memory.strides[slot] * first)
    return seen
