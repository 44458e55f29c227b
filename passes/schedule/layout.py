"""In which order the dimensions of a tensor lie in memory, by the kind of the kernel that stores it."""

from __future__ import annotations

from collections.abc import Mapping

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Load
from tcomp.ir.walk import index_variables, loads
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.bind.layout import size_of
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import contraction_of
from tcomp.passes.einsums.group import Group


def order_contraction(group: Group, einsum: Einsum, memories: Mapping[str, Memory]) -> tuple[int, ...]:
    """Shared ranks, rows, lanes: the tile is stored by whole vectors."""
    contraction = contraction_of(group)
    names = [i.as_variable or "" for i in einsum.index]
    rows = {r.name for r in contraction.rows}
    lane = contraction.lanes.name
    return tuple(sorted(range(len(names)), key=lambda d: (names[d] == lane, names[d] in rows, d)))


def order_nest(group: Group, einsum: Einsum, memories: Mapping[str, Memory]) -> tuple[int, ...]:
    """The order in which the largest tensor that it reads lies in memory, so that both are walked alike."""
    dims = tuple(range(len(einsum.index)))
    names = [i.as_variable or "" for i in einsum.index]
    main = _largest_load(group, einsum, memories)
    if main is None:
        return dims
    memory = memories[main.tensor]
    walked = [main.index[d] for d in sorted(range(len(main.index)), key=lambda d: (-size_of(memory.strides[d]), d))]
    ranked: list[str] = []
    for index in walked:
        ranked += sorted(n for n in index_variables(index) if n in names and n not in ranked)
    return tuple(sorted(dims, key=lambda d: (ranked.index(names[d]) if names[d] in ranked else -1, d)))


def _largest_load(group: Group, einsum: Einsum, memories: Mapping[str, Memory]) -> Load | None:
    """The read of the most elements from memory by the group; reads without rank variables do not count."""
    best: tuple[int, Load] | None = None
    free = {r.name for r in einsum.free}
    for member in group.members:
        for load in loads(member.expression):
            if load.tensor not in memories or not any(index_variables(i) & free for i in load.index):
                continue
            count = 1
            for index, extent in zip(load.index, memories[load.tensor].shape):
                count *= typical(extent) if index_variables(index) else 1
            if best is None or count > best[0]:
                best = count, load
    return None if best is None else best[1]
