"""Choose the memory layout of every tensor a group stores: a permutation of its dimensions.

    contraction   (shared ranks, rows, lanes): the tile is stored by whole vectors
    nest          the order in which the largest tensor it reads lies in memory, so that both are walked alike
    scan, scatter as written

Only tensors inside the program are free to choose; inputs and outputs lie as the caller's strides say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Index, Load
from tcomp.ir.tile import contiguous_strides
from tcomp.ir.walk import index_variables, loads
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import find_contraction
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.rolling import shape_in_memory


def choose_layouts(
    groups: tuple[Group, ...], memories: dict[str, Memory], static: Mapping[str, bool], pinned: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Give every stored tensor a memory in `memories` (which holds the external tensors); returns the permutations chosen.

    Tensors in `pinned` lie as their dimensions are written.
    """
    layouts: dict[str, tuple[int, ...]] = {}
    for group in groups:
        table = {name: (e, dtype) for e in group.members for name, dtype in e.targets}
        for name in group.stored:
            if name in memories:
                continue
            einsum, dtype = table[name]
            order = tuple(range(len(einsum.shape))) if name in pinned else _order(group, einsum, memories, static)
            shape = shape_in_memory(group, einsum)
            memories[name] = Memory(dtype, shape, permuted_strides(shape, order))
            if order != tuple(range(len(order))):
                layouts[name] = order
    return layouts


def permuted_strides(shape: tuple[Index, ...], order: tuple[int, ...]) -> tuple[Index, ...]:
    """Strides of a tensor whose dimensions lie in memory in the given order, outermost first."""
    strides = contiguous_strides(tuple(shape[d] for d in order))
    table = dict(zip(order, strides))
    return tuple(table[d] for d in range(len(shape)))


def dense_strides(shape: tuple[Index, ...], strides: tuple[Index, ...]) -> tuple[Index, ...]:
    """Strides in the same order without gaps, and without elements that share a place: those of a slice, or of an expanded tensor."""
    return permuted_strides(shape, tuple(sorted(range(len(shape)), key=lambda d: (-_size(strides[d]), d))))


def _order(group: Group, einsum: Einsum, memories: Mapping[str, Memory], static: Mapping[str, bool]) -> tuple[int, ...]:
    dims = tuple(range(len(einsum.index)))
    if group.kind == "chain":
        group = group.parts[-1]
    if group.kind in ("scan", "scatter", "fill"):
        return dims
    names = [i.as_variable or "" for i in einsum.index]
    if group.kind == "contract":
        contraction = find_contraction(group.root, static)
        assert contraction is not None
        rows = {r.name for r in contraction.rows}
        lane = contraction.lanes.name
        return tuple(sorted(dims, key=lambda d: (names[d] == lane, names[d] in rows, d)))
    main = _largest_load(group, einsum, memories)
    if main is None:
        return dims
    memory = memories[main.tensor]
    walked = [main.index[d] for d in sorted(range(len(main.index)), key=lambda d: (-_size(memory.strides[d]), d))]
    ranked: list[str] = []
    for index in walked:
        ranked += sorted(n for n in index_variables(index) if n in names and n not in ranked)
    return tuple(sorted(dims, key=lambda d: (ranked.index(names[d]) if names[d] in ranked else -1, d)))


def _size(stride: Index) -> int:
    return stride.constant if stride.is_constant else sum(c * typical(Index(((m, 1),), 0)) for m, c in stride.terms)


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
