"""Fuse einsums into kernels.

Statements are taken in order. Each joins the *latest* group among those that produce what it reads, if their ranks agree one to one
(so a dependence always runs from an earlier group to a later one and no cycle can arise); else it may join the newest group as a
sibling that reads the same tensor over the same ranks; else it founds a group. A map that reads no group's result, and that one
statement reads, waits for that statement, and joins the group which the statement joins if it can.

    contract   takes maps over exactly its free ranks (the epilogue)
    nest       takes maps over its outer, or outer and inner ranks, and reductions of its inner ranks; a nest of maps alone becomes
               one with inner ranks when a reduction over some of its ranks joins
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Symbol
from tcomp.ir.expressions import Load
from tcomp.ir.traverse import rename_ranks, statement_einsums
from tcomp.ir.walk import loads
from tcomp.passes.einsums.contraction import find_contraction
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.group import Group
from tcomp.passes.einsums.rebuild import count_readers
from tcomp.passes.groups.iteration import is_held, merge_maps, scan_group

LARGEST_GROUP = 48
"""Members of a group: longer chains gain nothing and make kernels that compile slowly."""


@dataclass
class _Draft:
    """A group under construction. `ranks` are the outer and inner ranks by name."""

    group: Group
    ranks: dict[str, Rank]


def fuse(cascade: Cascade) -> tuple[Group, ...]:
    """Partition the statements of a cascade into groups, in an order that respects dependences."""
    fusion = _Fusion(static_tensors(cascade), cascade.symbols, _read_once(cascade))
    for statement in cascade.statements:
        fusion.add(statement)
    return _with_stored(cascade, [d.group for d in fusion.drafts], fusion.home)


def _read_once(cascade: Cascade) -> frozenset[str]:
    """Tensors that one statement reads, and that are no outputs."""
    return frozenset(name for name, count in count_readers(cascade).items() if count == 1) - set(cascade.outputs)


@dataclass
class _Fusion:
    """Groups under construction, the group of each tensor, and the maps that wait for the statement that reads them."""

    static: Mapping[str, bool]
    symbols: tuple[Symbol, ...]
    read_once: frozenset[str]
    drafts: list[_Draft] = field(default_factory=list)
    home: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, Einsum] = field(default_factory=dict)

    def add(self, statement: Einsum | Iteration) -> None:
        """Put a statement into a group, or let it wait."""
        early = self._early(statement)
        if early and isinstance(statement, Einsum):
            if self._may_wait(statement):
                self.waiting[statement.name] = statement
                return
            if self._join_with(early, statement):
                return
        for einsum in early:
            del self.waiting[einsum.name]
            self._place(einsum)
        self._place(statement, may_wait=not early)

    def _place(self, statement: Einsum | Iteration, *, may_wait: bool = False) -> None:
        place = self._join(statement) if isinstance(statement, Einsum) else None
        if place is None and may_wait and isinstance(statement, Einsum) and self._may_wait(statement):
            self.waiting[statement.name] = statement
            return
        if place is None:
            self.drafts.append(_found(statement, self.static, self.symbols))
            place = len(self.drafts) - 1
        for einsum in statement_einsums(statement):
            self.home.update((name, place) for name, _ in einsum.targets)

    def _may_wait(self, einsum: Einsum) -> bool:
        """Whether a map reads no group's result, so that it can be computed wherever its one reader is."""
        return einsum.is_map and einsum.name in self.read_once and not any(name in self.home for name in einsum.reads())

    def _early(self, statement: Einsum | Iteration) -> list[Einsum]:
        """The maps that wait for a statement, and for each other, in order."""
        found: set[str] = set()
        names = [name for e in statement_einsums(statement) for name in e.reads()]
        while names:
            name = names.pop()
            if name in self.waiting and name not in found:
                found.add(name)
                names += self.waiting[name].reads()
        return [e for name, e in self.waiting.items() if name in found]

    def _latest(self, einsum: Einsum) -> int | None:
        """The last of the groups that produce what an einsum reads."""
        return max((self.home[name] for name in einsum.reads() if name in self.home), default=None)

    def _join(self, einsum: Einsum) -> int | None:
        """Put an einsum into an existing group; None if it cannot join."""
        if einsum.is_scatter or not self.drafts or find_contraction(einsum, self.static) is not None:
            return None
        latest = self._latest(einsum)
        if latest is not None:
            draft = self.drafts[latest]
            mapping = _unify_reads(einsum, draft)
            if mapping is not None and _accept(einsum, draft, mapping):
                return latest
        newest = len(self.drafts) - 1
        if latest is None or latest < newest:
            draft = self.drafts[newest]
            mapping = _unify_sibling(einsum, draft)
            if mapping is not None and draft.group.kind == "nest" and _accept(einsum, draft, mapping):
                return newest
        return None

    def _join_with(self, early: list[Einsum], einsum: Einsum) -> bool:
        """Put an einsum, and the maps that wait for it, into the group it would join without them."""
        place = self._latest(einsum)
        if place is None or einsum.is_scatter or find_contraction(einsum, self.static) is not None:
            return False
        draft = self.drafts[place]
        mapping = _unify_reads(einsum, draft)
        if mapping is None:
            return False
        mappings = _map_early(early, einsum, _complete(einsum, draft, mapping))
        before = draft.group
        if mappings is None or not all(_accept(e, draft, mappings[e.name]) for e in (*early, einsum)):
            draft.group = before
            return False
        for member in (*early, einsum):
            self.home.update((name, place) for name, _ in member.targets)
            self.waiting.pop(member.name, None)
        return True


def _map_early(early: list[Einsum], einsum: Einsum, mapping: dict[str, str]) -> dict[str, dict[str, str]] | None:
    """Ranks of the group for those of an einsum and of the maps before it; None unless they are read at bare ranks, one way each."""
    mappings = {einsum.name: mapping}
    for member in reversed(early):
        found: list[dict[str, str]] = []
        for reader in (*early, einsum):
            for part in (reader.expression, reader.where):
                for load in loads(part) if part is not None else ():
                    if load.tensor == member.name:
                        found.append(dict(_follow(load, member, mappings[reader.name])))
        names = found[0] if found else {}
        if not found or any(other != names for other in found) or len(names) != len(member.free):
            return None
        mappings[member.name] = names
    return mappings


def _follow(load: Load, member: Einsum, mapping: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(rank of what is read, rank of the group) for each index that is a bare rank of the reader."""
    for there, here in zip(member.free, load.index):
        name = here.as_variable
        if load.outside is None and name is not None and name in mapping:
            yield there.name, mapping[name]


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


def _found(statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...]) -> _Draft:
    """A new group of one statement."""
    if isinstance(statement, Iteration):
        return _Draft(scan_group(statement, symbols), {})
    if statement.is_scatter:
        return _Draft(Group("scatter", (statement,), statement.free), {})
    if find_contraction(statement, static) is not None:
        return _Draft(Group("contract", (statement,), statement.free), {r.name: r for r in statement.free})
    group = Group("nest", (statement,), statement.free, statement.reduced)
    return _Draft(group, {r.name: r for r in statement.ranks})


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
