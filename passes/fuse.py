"""Fuse einsums into kernels.

Statements are taken in order. Each joins the *latest* group among those that produce what it reads, if their ranks agree one to one
(so a dependence always runs from an earlier group to a later one and no cycle can arise); else it may join the newest group as a
sibling that reads the same tensor over the same ranks; else it founds a group.

    contract   takes maps over exactly its free ranks (the epilogue)
    nest       takes maps over its outer, or outer and inner ranks, and reductions of its inner ranks; a nest of maps alone becomes
               one with inner ranks when a reduction over some of its ranks joins
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Symbol
from tcomp.ir.expressions import Load, loads
from tcomp.ir.traverse import rename_ranks
from tcomp.passes.contraction import find_contraction
from tcomp.passes.group import Group
from tcomp.passes.operands import static_tensors
from tcomp.passes.rebuild import statement_einsums
from tcomp.passes.scan import is_held, merge_maps, scan_group

LARGEST_GROUP = 48
"""Members of a group: longer chains gain nothing and make kernels that compile slowly."""


@dataclass
class _Draft:
    """A group under construction. `ranks` are the outer and inner ranks by name."""

    group: Group
    ranks: dict[str, Rank]


def fuse(cascade: Cascade) -> tuple[Group, ...]:
    """Partition the statements of a cascade into groups, in an order that respects dependences."""
    static = static_tensors(cascade)
    drafts: list[_Draft] = []
    home: dict[str, int] = {}
    for statement in cascade.statements:
        producers = [home[n] for e in statement_einsums(statement) for n in e.reads() if n in home]
        place = None
        if isinstance(statement, Einsum):
            place = _join(statement, drafts, max(producers, default=None), static)
        if place is None:
            drafts.append(_found(statement, static, cascade.symbols))
            place = len(drafts) - 1
        for einsum in statement_einsums(statement):
            home.update((name, place) for name, _ in einsum.targets)
    return _with_stored(cascade, [d.group for d in drafts], home)


def _with_stored(cascade: Cascade, groups: list[Group], home: dict[str, int]) -> tuple[Group, ...]:
    """State which tensors leave their kernel: outputs, and what another group reads."""
    leaving = set(cascade.outputs)
    for place, group in enumerate(groups):
        leaving.update(n for n in group.reads() if home.get(n, place) != place)
    kept = []
    for group in groups:
        group = replace(group, stored=tuple(n for n in group.names if n in leaving))
        always = {n for e in _members_in_memory(group) for n, _ in e.targets}
        kept.append(replace(group, stored=tuple(n for n in group.names if n in always or n in leaving)))
    return tuple(kept)


def _members_in_memory(group: Group) -> tuple[Einsum, ...]:
    """Members that are kept in memory even if no other kernel reads them."""
    if group.kind == "scan":
        return tuple(e for e in merge_maps(group) if not is_held(group, e))
    return group.members if group.kind == "scatter" else ()


def _found(statement: Einsum | Iteration, static: dict[str, bool], symbols: tuple[Symbol, ...]) -> _Draft:
    """A new group of one statement."""
    if isinstance(statement, Iteration):
        return _Draft(scan_group(statement, symbols), {})
    if statement.is_scatter:
        return _Draft(Group("scatter", (statement,), statement.free), {})
    if find_contraction(statement, static) is not None:
        return _Draft(Group("contract", (statement,), statement.free), {r.name: r for r in statement.free})
    group = Group("nest", (statement,), statement.free, statement.reduced)
    return _Draft(group, {r.name: r for r in statement.ranks})


def _join(einsum: Einsum, drafts: list[_Draft], latest: int | None, static: dict[str, bool]) -> int | None:
    """Put an einsum into an existing group; None if it cannot join."""
    if einsum.is_scatter or not drafts or find_contraction(einsum, static) is not None:
        return None
    if latest is not None:
        draft = drafts[latest]
        mapping = _unify_reads(einsum, draft)
        if mapping is not None and _accept(einsum, draft, mapping):
            return latest
    newest = len(drafts) - 1
    if latest is None or latest < newest:
        draft = drafts[newest]
        mapping = _unify_sibling(einsum, draft)
        if mapping is not None and draft.group.kind == "nest" and _accept(einsum, draft, mapping):
            return newest
    return None


def _unify_reads(einsum: Einsum, draft: _Draft) -> dict[str, str] | None:
    """Map the einsum's ranks to the group's by its reads of the group's tensors; None unless all reads agree one to one."""
    targets = {name: e for e in draft.group.members for name, _ in e.targets}
    mapping: dict[str, str] = {}
    for part in (einsum.expression, einsum.where):
        for load in loads(part) if part is not None else ():
            if load.tensor in targets and not _agree(load, targets[load.tensor], mapping):
                return None
    return mapping if len(set(mapping.values())) == len(mapping) else None


def _agree(load: Load, producer: Einsum, mapping: dict[str, str]) -> bool:
    if load.outside is not None:
        return False
    for here, there in zip(load.index, producer.index):
        if here == there and here.is_constant:
            continue
        name, other = here.as_variable, there.as_variable
        if name is None or other is None or mapping.setdefault(name, other) != other:
            return False
    return True


def _unify_sibling(einsum: Einsum, draft: _Draft) -> dict[str, str] | None:
    """Map ranks by a tensor that both read at bare ranks."""
    theirs = {load.tensor: load for e in draft.group.members for load in loads(e.expression)}
    for load in loads(einsum.expression):
        other = theirs.get(load.tensor)
        if other is None or load.outside is not None or other.outside is not None:
            continue
        pairs = [(a.as_variable, b.as_variable) for a, b in zip(load.index, other.index)]
        mapping = {a: b for a, b in pairs if a is not None and b is not None}
        if len(mapping) == len(pairs) == len(set(mapping.values())):
            return mapping
    return None


def _accept(einsum: Einsum, draft: _Draft, mapping: dict[str, str]) -> bool:
    """Add an einsum to a group if its ranks fit; the draft is unchanged if not."""
    group = draft.group
    if len(group.members) >= LARGEST_GROUP or group.kind not in ("contract", "nest"):
        return False
    if any(mapping.get(r.name) is None for r in einsum.ranks):
        mapping = _complete(einsum, draft, mapping)
    renamed_free = {mapping.get(r.name, "") for r in einsum.free}
    outer = {r.name for r in group.outer}
    inner = {r.name for r in group.inner}
    if not _same_extents(einsum, draft, mapping):
        return False
    if group.kind == "contract":
        if einsum.is_map and renamed_free == outer:
            draft.group = replace(group, members=(*group.members, rename_ranks(einsum, mapping)))
            return True
        return False
    if einsum.is_map:
        if renamed_free not in (outer, outer | inner):
            return False
        draft.group = replace(group, members=(*group.members, rename_ranks(einsum, mapping)))
        return True
    return _accept_reduction(einsum, draft, mapping, renamed_free)


def _accept_reduction(einsum: Einsum, draft: _Draft, mapping: dict[str, str], free: set[str]) -> bool:
    group = draft.group
    reduced = {mapping.get(r.name, "") for r in einsum.reduced}
    if len(einsum.targets) > 1 or "" in reduced:
        return False
    outer = {r.name for r in group.outer}
    inner = {r.name for r in group.inner}
    if inner:
        if free != outer or reduced != inner:
            return False
        draft.group = replace(group, members=(*group.members, rename_ranks(einsum, mapping)))
        return True
    if free | reduced != outer or free & reduced:
        return False
    draft.group = replace(
        group,
        members=(*group.members, rename_ranks(einsum, mapping)),
        outer=tuple(r for r in group.outer if r.name in free),
        inner=tuple(r for r in group.outer if r.name in reduced),
    )
    return True


def _complete(einsum: Einsum, draft: _Draft, mapping: dict[str, str]) -> dict[str, str]:
    """Match ranks that no common read names: the remaining rank of equal extent, if there is exactly one on either side."""
    used = set(mapping.values())
    left = [r for r in einsum.ranks if r.name not in mapping]
    open_ranks = [r for name, r in draft.ranks.items() if name not in used]
    result = dict(mapping)
    for rank in left:
        equal = [r for r in open_ranks if r.extent == rank.extent]
        if len(equal) != 1 or sum(1 for r in left if r.extent == rank.extent) != 1:
            return mapping
        result[rank.name] = equal[0].name
        open_ranks.remove(equal[0])
    return result


def _same_extents(einsum: Einsum, draft: _Draft, mapping: dict[str, str]) -> bool:
    for rank in einsum.ranks:
        other = draft.ranks.get(mapping.get(rank.name, ""))
        if other is None or other.extent != rank.extent:
            return False
    return True
