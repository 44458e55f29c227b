"""What an iteration holds: a step of each small member; large and cheap maps are computed by each of their readers."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Einsum
from tcomp.passes.einsums.facts import cost
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.iteration import count_reads, may_hold, merge_table, own_ranks

LARGEST_HELD = 1 << 12
"""Elements of a tensor, at one step and for one point of the outer ranks, that are kept close to the core."""

CHEAP = 4
"""A map of at most this arithmetic cost, if too large to be held, is computed by each of its readers rather than kept in memory."""


def hold_steps(group: Group) -> Group:
    """An iteration with what is held and what is computed again."""
    group = replace(group, held=frozenset(e.name for e in group.members if _is_small(group, e)))
    reads = count_reads(group)
    for einsum in group.members:
        if einsum.is_map and einsum.name not in group.held and reads.get(einsum.name, 0) > 1:
            table, _ = merge_table(group)
            again = cost(table[einsum.name].expression) <= CHEAP
            group = replace(group, again=group.again | {einsum.name}) if again else group
    return group


def _is_small(group: Group, einsum: Einsum) -> bool:
    return may_hold(group, einsum) and prod(r.extent.constant for r in own_ranks(group, einsum)) <= LARGEST_HELD
