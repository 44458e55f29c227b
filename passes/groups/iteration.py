"""Groups of iterations: which ranks all steps share, and which tensors of the body need no memory.

    iterate t:T {
      P: f32[t:T, d:D, n:16] = A[t, d, n] * S[t, d, n]
      S: f32[t + 1:T + 1, d:D, n:16] = P[t, d, n] + B[t, d, n] from 0.0
      Y: f32[t:T, d:D] = sum(n:16) S[t + 1, d, n] * C[t, n]
    }

Every access walks d alike, so d is an outer rank, whose points are independent. One step of S for one d is 16 numbers: the next step
finds them where this one left them, and only Y leaves the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tcomp.ir.cascade import Einsum, Iteration, Rank, Symbol
from tcomp.ir.expressions import ONE, Expr, Load, as_index
from tcomp.ir.names import counted, take
from tcomp.ir.traverse import map_values, rename_ranks
from tcomp.ir.walk import index_variables, loads, map_load_indices, map_loads, substitute
from tcomp.passes.einsums.group import Group

_Node = tuple[int, str]
"""A rank of a member."""


def scan_group(iteration: Iteration, symbols: Iterable[Symbol] = ()) -> Group:
    """A group of an iteration, its ranks renamed: two of its members call two ranks alike if and only if one reads the other so."""
    t = iteration.rank.name
    classes = _find_classes(iteration)
    taken = {t, *(s.name for s in symbols)}
    shared: dict[_Node, str] = {}
    mappings: list[dict[str, str]] = []
    for number, einsum in enumerate(iteration.body):
        mapping: dict[str, str] = {}
        for rank in einsum.ranks:
            if rank.name == t:
                continue
            root = classes.get((number, rank.name))
            name = shared.get(root) if root is not None else None
            if name is None:
                name = take(counted(rank.name, "_"), taken)
                if root is not None:
                    shared[root] = name
            mapping[rank.name] = name
        mappings.append(mapping)
    members = tuple(rename_ranks(e, m) for e, m in zip(iteration.body, mappings))
    outer = tuple(r for r in members[0].free if r.name != t and all(r in e.free for e in members) and r.name in shared.values())
    return Group("scan", members, outer, iterative=iteration.rank)


def _find_classes(iteration: Iteration) -> dict[_Node, _Node]:
    """Ranks that are one and the same by a representative: walked bare, one to one, in every access to a tensor of the body."""
    t = iteration.rank.name
    body = iteration.body
    makers = {name: number for number, e in enumerate(body) for name, _ in e.targets}
    extents = {(number, r.name): r.extent for number, e in enumerate(body) for r in e.ranks if r.name != t}
    parents = {node: node for node in extents}

    def find(node: _Node) -> _Node:
        while parents[node] != node:
            parents[node] = node = parents[parents[node]]
        return node

    mixed: set[_Node] = set()
    for number, einsum in enumerate(body):
        for part in (einsum.expression, einsum.where):
            for load in loads(part) if part is not None else ():
                maker = makers.get(load.tensor)
                for slot, i in zip(body[maker].index, load.index) if maker is not None else ():
                    theirs, ours = slot.as_variable, i.as_variable
                    if maker is None or theirs is None or theirs == t:
                        continue
                    if ours is None or extents.get((number, ours)) != extents[maker, theirs]:
                        mixed.add((maker, theirs))
                        mixed.update((number, name) for name in index_variables(i) if (number, name) in parents)
                    else:
                        parents[find((number, ours))] = find((maker, theirs))
    members: dict[_Node, list[_Node]] = {}
    for node in parents:
        members.setdefault(find(node), []).append(node)
    found: dict[_Node, _Node] = {}
    for root, nodes in members.items():
        is_one_to_one = len({number for number, _ in nodes}) == len(nodes)
        if is_one_to_one and not any(node in mixed for node in nodes):
            found.update((node, root) for node in nodes)
    return found


def step_slot(einsum: Einsum, iterative: str) -> int:
    """The slot along the iterative rank."""
    t = as_index(iterative)
    return next(k for k, i in enumerate(einsum.index) if i in (t, t + 1))


def own_ranks(group: Group, einsum: Einsum) -> tuple[Rank, ...]:
    """The free ranks of a member that are neither outer nor iterative."""
    assert group.iterative is not None
    outer = {r.name for r in group.outer} | {group.iterative.name}
    return tuple(r for r in einsum.free if r.name not in outer)


def is_held(group: Group, einsum: Einsum) -> bool:
    """Whether a step of a member is kept in registers or in a buffer instead of memory."""
    return einsum.name in group.held


def may_hold(group: Group, einsum: Einsum) -> bool:
    """Whether a step of a member can be held: if its size is known."""
    return len(einsum.targets) == 1 and all(rank.extent.is_constant for rank in own_ranks(group, einsum))


def count_reads(group: Group) -> dict[str, int]:
    """How often members read each tensor."""
    reads: dict[str, int] = {}
    for einsum in group.members:
        for load in member_loads(einsum):
            reads[load.tensor] = reads.get(load.tensor, 0) + 1
    return reads


def merge_table(group: Group) -> tuple[dict[str, Einsum], set[str]]:
    """Every member with maps merged into it, and the names of the maps that were."""
    reads = count_reads(group)
    table = {e.name: e for e in group.members}
    merged: set[str] = set()
    for einsum in group.members:
        table[einsum.name] = _merge_into(einsum, group, table, reads, merged)
    return table, merged


def merge_maps(group: Group) -> tuple[Einsum, ...]:
    """The members, with maps that are read once, or that each reader is to compute again, merged into their readers.

    What leaves the kernel is computed as it stands.
    """
    table, merged = merge_table(group)
    needed: list[Einsum] = []
    for einsum in reversed(table.values()):
        if einsum.name not in merged or any(load.tensor == einsum.name for e in needed for load in member_loads(e)):
            needed.append(einsum)
    return tuple(reversed(needed))


def member_loads(einsum: Einsum) -> list[Load]:
    """What a member reads at a step."""
    return [load for part in (einsum.expression, einsum.where) if part is not None for load in loads(part)]


def _merge_into(
    einsum: Einsum, group: Group, table: Mapping[str, Einsum], reads: Mapping[str, int], merged: set[str]
) -> Einsum:
    """A member with maps in place of their loads, unless that would compute a point twice for it."""
    ranks = {r.name for r in (*own_ranks(group, einsum), *einsum.reduced) if r.extent != ONE}

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        maker = table.get(load.tensor)
        if maker is None or not maker.is_map or maker.name in group.stored or load.outside is not None:
            return load
        if reads[maker.name] > 1 and maker.name not in group.again:
            return load
        if not ranks <= {name for i in load.index for name in index_variables(i)}:
            return load
        merged.add(maker.name)
        return substitute(maker.expression, {str(s.as_variable): i for s, i in zip(maker.index, load.index)})

    return map_values(einsum, lambda value: map_loads(value, read))


def updates_in_place(members: tuple[Einsum, ...], einsum: Einsum, iterative: str) -> bool:
    """Whether a step of a carried member reads of the one before only the element it writes, and nothing reads that afterwards."""
    t = as_index(iterative)
    step = step_slot(einsum, iterative)
    same = tuple(t if slot == step else i for slot, i in enumerate(einsum.index))
    place = members.index(einsum)
    for number, other in enumerate(members):
        for load in member_loads(other):
            if load.tensor != einsum.name or load.index[step] != t:
                continue
            if number > place or (number == place and (einsum.reduce is not None or load.index != same)):
                return False
    return True
