"""Into how many parts the rows of a CPU's nests are cut: for the threads of any machine, none too short."""

from __future__ import annotations

from math import prod

from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.parts import walks_rows

MOST_INSTANCES = 32
"""Instances of a nest, its parts included: enough for the threads of one machine, few enough to fold quickly."""

SHORTEST_PART = 1 << 15
"""Elements that one instance folds: fewer take no longer than starting threads and folding the parts."""

LANES = 64
"""Columns that one instance folds side by side."""


def choose_cut(group: Group) -> tuple[str, int] | None:
    """Which rank of the rows of a group is cut into how many parts; None if they are short, or there are enough of them."""
    reductions = [e for e in group.members if e.reduce is not None]
    results = prod(r.extent.constant for r in group.outer)
    length = prod(r.extent.constant for r in group.inner)
    beside = 1 if walks_rows(reductions[0]) else min(results, LANES)
    instances = -(-results // beside)
    most = min(MOST_INSTANCES // instances, length * beside // SHORTEST_PART)
    rank = next((r for r in group.inner if r.extent.constant >= most), max(group.inner, key=lambda r: r.extent.constant))
    most = min(most, rank.extent.constant)
    if most < 2:
        return None
    even = max(count for count in range(1, most + 1) if rank.extent.constant % count == 0)
    count = even if 2 * even >= most else most
    return rank.name, count
