"""Which maps of a nest are computed again in a later phase: cheap ones, and those whose rows would leave the cache."""

from __future__ import annotations

from math import prod

from tcomp.ir.cascade import Einsum
from tcomp.ir.schedule import KernelSchedule
from tcomp.ir.walk import loads
from tcomp.passes.einsums.facts import cost
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.phases import find_phases, is_read_later, walks_inner

CHEAP = 4
"""A map of at most this arithmetic cost is computed again in a later phase rather than kept."""

LARGEST_BUFFER = 1 << 17
"""Bytes of a buffer that keeps a map between phases; a larger one would leave the cache it is meant to stay in."""


def choose_again(group: Group, schedule: KernelSchedule) -> frozenset[str]:
    """The maps of a nest, bound to its arguments and scheduled for a CPU, that later phases compute again."""
    phases = find_phases(group)
    table = {e.name: e for e in group.members}
    rows = _rows(group, schedule)
    found: set[str] = set()
    for einsum in group.members:
        if einsum.reduce is not None or not walks_inner(group, einsum) or not is_read_later(group, phases, einsum.name):
            continue
        is_kept = einsum.name in group.stored or _fits(einsum, group, rows)
        if not is_kept or _full_cost(group, einsum, table) <= CHEAP:
            found.add(einsum.name)
    return frozenset(found)


def _rows(group: Group, schedule: KernelSchedule) -> int:
    """How many points of the outer ranks a tile has."""
    sizes = dict(schedule.tiles)
    tiles = [min(sizes[r.name], r.extent.constant) if r.extent.is_constant else sizes[r.name] for r in group.outer if r.name in sizes]
    return prod(tiles)


def _fits(einsum: Einsum, group: Group, rows: int) -> bool:
    extents = [r.extent for r in group.inner]
    return all(e.is_constant for e in extents) and einsum.dtype.bytes * rows * prod(e.constant for e in extents) <= LARGEST_BUFFER


def _full_cost(group: Group, einsum: Einsum, table: dict[str, Einsum]) -> int:
    """Cost of computing a map from what lies in memory or blocks."""
    total = cost(einsum.expression)
    for load in loads(einsum.expression):
        producer = table.get(load.tensor)
        if producer is not None and producer.reduce is None and walks_inner(group, producer):
            total += _full_cost(group, producer, table)
    return total
