"""Fuse einsums into kernels.

Statements are taken in order. Each joins the *latest* group among those that produce what it reads, if their ranks agree one to one
(so a dependence always runs from an earlier group to a later one and no cycle can arise); else it may join the newest group as a
sibling that reads the same tensor over the same ranks; else it founds a group. A map that reads no group's result, and that one
statement reads, waits for that statement, and joins the group which the statement joins if it can.

What can join what is told in `tcomp.passes.groups.form`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Symbol
from tcomp.ir.traverse import statement_einsums
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.group import Group
from tcomp.passes.einsums.rebuild import count_readers
from tcomp.passes.groups.form import Draft, accept, complete, found, map_early, stands_first, unify_reads, unify_sibling, with_stored
from tcomp.passes.guess.hold import hold_steps
from tcomp.passes.kinds.kind import Kinds
from tcomp.passes.kinds.table import KINDS

LARGEST_GROUP = 48
"""Members of a group: longer chains gain nothing and make kernels that compile slowly."""


def fuse(cascade: Cascade, kinds: Kinds = KINDS) -> tuple[Group, ...]:
    """Partition the statements of a cascade into groups, in an order that respects dependences."""
    fusion = _Fusion(static_tensors(cascade), cascade.symbols, _read_once(cascade), kinds)
    for statement in cascade.statements:
        fusion.add(statement)
    return with_stored(cascade, [d.group for d in fusion.drafts], hold_steps, kinds)


def _read_once(cascade: Cascade) -> frozenset[str]:
    """Tensors that one statement reads, and that are no outputs."""
    return frozenset(name for name, count in count_readers(cascade).items() if count == 1) - set(cascade.outputs)


@dataclass
class _Fusion:
    """Groups under construction, the group of each tensor, and the maps that wait for the statement that reads them."""

    static: Mapping[str, bool]
    symbols: tuple[Symbol, ...]
    read_once: frozenset[str]
    kinds: Kinds
    drafts: list[Draft] = field(default_factory=list)
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
            draft = found(statement, self.static, self.symbols, self.kinds.values())
            assert draft is not None, "a nest takes what nobody else does"
            self.drafts.append(draft)
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
        if not self.drafts or stands_first(einsum):
            return None
        latest = self._latest(einsum)
        if latest is not None:
            draft = self.drafts[latest]
            mapping = unify_reads(einsum, draft)
            if mapping is not None and self._join_small(einsum, draft, mapping):
                return latest
        newest = len(self.drafts) - 1
        if latest is None or latest < newest:
            draft = self.drafts[newest]
            mapping = unify_sibling(einsum, draft)
            if mapping is not None and self.kinds[draft.group.kind].takes_siblings and self._join_small(einsum, draft, mapping):
                return newest
        return None

    def _join_with(self, early: list[Einsum], einsum: Einsum) -> bool:
        """Put an einsum, and the maps that wait for it, into the group it would join without them."""
        place = self._latest(einsum)
        if place is None or stands_first(einsum):
            return False
        draft = self.drafts[place]
        mapping = unify_reads(einsum, draft)
        if mapping is None:
            return False
        mappings = map_early(early, einsum, complete(einsum, draft, mapping))
        before = draft.group
        if mappings is None or not all(self._join_small(e, draft, mappings[e.name]) for e in (*early, einsum)):
            draft.group = before
            return False
        for member in (*early, einsum):
            self.home.update((name, place) for name, _ in member.targets)
            self.waiting.pop(member.name, None)
        return True

    def _join_small(self, einsum: Einsum, draft: Draft, mapping: dict[str, str]) -> bool:
        """Add an einsum to a group if its ranks fit, and the group is not too large."""
        return len(draft.group.members) < LARGEST_GROUP and accept(einsum, draft, mapping, self.kinds)
