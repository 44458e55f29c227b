"""The phases of a nest: a reduction of the inner ranks ends one, and what depends on it starts the next."""

from __future__ import annotations

from tcomp.ir.cascade import Einsum
from tcomp.passes.einsums.group import Group


def walks_inner(group: Group, einsum: Einsum) -> bool:
    """Whether an einsum has an inner rank of its group."""
    inner = {r.name for r in group.inner}
    return bool(inner) and bool(inner & {r.name for r in einsum.ranks})


def find_phases(group: Group) -> dict[str, int]:
    """The phase of each tensor of a group; a member without inner ranks is ready before that phase."""
    members = {name: e for e in group.members for name, _ in e.targets}
    of: dict[str, int] = {}
    for einsum in group.members:
        phase = 0
        for name in einsum.reads():
            producer = members.get(name)
            if producer is not None:
                done = producer.reduce is not None and walks_inner(group, producer)
                phase = max(phase, of[name] + (1 if done else 0))
        of.update((name, phase) for name, _ in einsum.targets)
    return of


def is_read_later(group: Group, phases: dict[str, int], name: str) -> bool:
    """Whether a member is read in a later phase than its own."""
    return any(phases[e.name] > phases[name] and name in e.reads() for e in group.members)
