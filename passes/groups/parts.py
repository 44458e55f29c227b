"""Split long reductions with few results into parts that are computed at once, and fold the parts (split-K, for any commutative monoid).

    Y: bf16[m:64, n:64] = sum(k:4096) f32(X[m, k]) * f32(W[k, n])
      =>
    Y.part: f32[part:8, m:64, n:64] = sum(k:512) f32(X[m, 512*part + k]) * f32(W[512*part + k, n])
    Y: bf16[m:64, n:64] = sum(part:8) Y.part[part, m, n]

    Y: f32[Ids[i]:100] = sum(i:8192) V[i] from B[_0]
      =>
    Y.part: f32[part:32, Ids[256*part + i]:100] = sum(i:256) V[256*part + i]
    Y.sum: f32[_0:100] = sum(part:32) Y.part[part, _0]
    Y: f32[_0:100] = B[_0] + Y.sum[_0]

For a GPU, where a kernel of few instances leaves most of the machine idle. The parts and the order in which they are folded depend on
sizes alone, so results are the same in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from tcomp.ir.cascade import Cascade, Einsum, Rank
from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Expr, Index, Load, apply, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.names import fresh
from tcomp.ir.traverse import map_values
from tcomp.ir.walk import index_variables, loads, map_load_indices, map_loads, substitute, substitute_index
from tcomp.passes.einsums.group import Group

Parts: TypeAlias = Callable[[Group, Einsum], tuple[str, int] | None]
"""Which rank of the reduction of a group is cut into how many parts; None if the group stays whole."""


def split_groups(groups: tuple[Group, ...], cascade: Cascade, choose: Parts) -> tuple[Group, ...]:
    """Split the reductions of groups as chosen; the same groups if none is. Raises Illegal for parts that cannot be."""
    taken = set(cascade.tensors())
    kept: list[Group] = []
    for group in groups:
        einsum = _find_reduction(group)
        found = None if einsum is None else choose(group, einsum)
        if einsum is None or found is None:
            kept.append(group)
            continue
        rank = next((r for r in einsum.reduced if r.name == found[0]), None)
        if rank is None or found[1] < 1 or rank.extent.constant % found[1]:
            raise Illegal(
                f"{einsum.name} has no rank {found[0]} that {found[1]} parts divide",
                where=f"the group of {', '.join(group.names)}",
                help=f"cut one of {', '.join(f'{r.name}:{r.extent}' for r in einsum.reduced)}",
            )
        kept += _split(group, einsum, rank, found[1], taken)
    return groups if len(kept) == len(groups) else tuple(kept)


def _find_reduction(group: Group) -> Einsum | None:
    """The reduction of a group, if it can be computed in parts."""
    einsum = _only_reduction(group)
    if einsum is None or einsum.reduce is None or MONOIDS[einsum.reduce].arity > 1 or einsum.reduce == "last":
        return None
    # A scatter whose slots have all its ranks reduces none.
    is_known = einsum.reduced and all(e.is_constant for e in (*einsum.shape, *(r.extent for r in einsum.reduced)))
    return einsum if is_known else None


def _only_reduction(group: Group) -> Einsum | None:
    """The reduction of a group that is one reduction with maps before and after it; what comes before is made part of it."""
    if group.kind not in ("contract", "nest", "scatter"):
        return None
    reductions = [e for e in group.members if e.reduce is not None]
    if len(reductions) != 1 or len(reductions[0].targets) > 1:
        return None
    (root,) = reductions
    inner = {r.name for r in root.reduced}
    before = {e.name: e for e in group.members if e is not root and inner & {r.name for r in e.free}}
    if group.kind == "contract" and before:
        return None
    last = [e.name for e in group.members].index(root.name)
    if any(name in group.stored or [e.name for e in group.members].index(name) > last for name in before):
        return None

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        made = before.get(load.tensor)
        return load if made is None else map_loads(made.expression, read)

    return map_values(root, lambda part: map_loads(part, read))


def _split(group: Group, einsum: Einsum, rank: Rank, count: int, taken: set[str]) -> list[Group]:
    """The group of the parts, and the group that folds them and does what the group did with the whole."""
    parts, *folds = _make_parts(einsum, rank, count, taken)
    part = Rank(str(parts.index[0].as_variable), as_index(count))
    inner = {r.name for r in einsum.reduced}
    walked = parts.reduced if group.kind == "nest" else ()
    first = Group(group.kind, (parts,), (part, *group.outer), walked, stored=(parts.name,), fact=group.fact)
    position = next(k for k, e in enumerate(group.members) if e.name == einsum.name)
    rest = [e for e in group.members[position + 1 :] if not inner & {r.name for r in e.free}]
    early = [e for e in group.members[:position] if not inner & {r.name for r in e.free}]
    outer = folds[0].free if group.kind == "scatter" else group.outer
    second = Group("nest", (*early, *folds, *rest), outer, (part,), stored=group.stored)
    return [first, second]


def walks_rows(einsum: Einsum) -> bool:
    """Whether the last dimension of what a reduction reads most of is reduced, or all of it is."""
    reduced = {r.name for r in einsum.reduced}
    found = [load for load in loads(einsum.expression) if load.index]
    longest = max(found, key=lambda load: len(load.index), default=None)
    return longest is None or not einsum.free or bool(index_variables(longest.index[-1]) & reduced)


def _make_parts(einsum: Einsum, rank: Rank, count: int, taken: set[str]) -> list[Einsum]:
    """The einsum of the parts, and what folds them."""
    part = fresh("part", {r.name for r in einsum.ranks})
    length = rank.extent // count
    place = {rank.name: as_index(part) * length + as_index(rank.name)}
    name = fresh(f"{einsum.name}.part", taken)
    wide = compute_dtype(einsum.dtype)
    reduced = tuple(Rank(r.name, length) if r == rank else r for r in einsum.reduced)
    parts = replace(
        map_values(einsum, lambda value: substitute(value, place)),
        targets=((name, wide),),
        index=(as_index(part), *(substitute_index(i, place) for i in einsum.index)),
        shape=(as_index(count), *einsum.shape),
        reduced=reduced,
        initial=None,
    )
    free: tuple[Index, ...] = tuple(as_index(rank.name) for rank in einsum.slot_ranks)
    if einsum.initial is None:
        return [parts, _fold(einsum, einsum.name, Load(name, (as_index(part), *free)), Rank(part, as_index(count)))]
    total = fresh(f"{einsum.name}.{einsum.reduce}", taken)
    fold = _fold(einsum, total, Load(name, (as_index(part), *free)), Rank(part, as_index(count)))
    return [parts, fold, replace(fold, targets=einsum.targets, expression=_join(einsum, Load(total, free)), reduce=None, reduced=())]


def _fold(einsum: Einsum, name: str, parts: Load, part: Rank) -> Einsum:
    """What folds the parts into a tensor of the given name."""
    return Einsum(((name, einsum.dtype),), parts.index[1:], einsum.shape, parts, einsum.reduce, (part,), source=einsum.source)


def _join(einsum: Einsum, total: Expr) -> Expr:
    assert einsum.reduce is not None and einsum.initial is not None
    operator = MONOIDS[einsum.reduce].operator
    assert operator is not None
    return apply(operator, einsum.initial, total)
