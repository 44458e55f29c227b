"""Form groups: which einsums one kernel can compute, and the common ranks they then have.

Which statement founds a group, and what the group then takes, its kind says (`tcomp.passes.kinds`). An einsum joins a group whose tensors
it reads at bare ranks, which then are the group's; or one that reads the same tensor over the same ranks. Maps that read no group's
result are computed wherever their reader is, at the ranks at which it reads them. A map may have one short rank beside the group's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Symbol
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import ZERO, Index, Load, Variable
from tcomp.ir.index import pair_of
from tcomp.ir.names import first_free, lengthened
from tcomp.ir.traverse import rename_ranks, statement_einsums
from tcomp.ir.walk import loads, walk_index
from tcomp.passes.einsums.contraction import is_contraction
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.group import Group, may_be_own

Hold: TypeAlias = Callable[[Group], Group]
"""Says of an iteration which members are held, and which are computed again where they are read."""


class FormingKind(Protocol):
    """What has to be known of a kind of kernel to form groups."""

    @property
    def name(self) -> str:
        """The kind's name."""

    def found(self, statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...]) -> Group | None:
        """A group of one statement; None if it is for another kind."""

    def takes(self, einsum: Einsum, group: Group) -> Group | None:
        """The group with one more einsum, over ranks of the group; None if it does not fit."""

    def in_memory(self, group: Group) -> tuple[Einsum, ...]:
        """Members that are kept in memory even if no other kernel reads them."""


Kinds: TypeAlias = Mapping[str, FormingKind]


@dataclass
class Draft:
    """A group under construction. `ranks` are the outer and inner ranks by name."""

    group: Group
    ranks: dict[str, Rank]


def with_stored(cascade: Cascade, groups: Sequence[Group], hold: Hold, kinds: Kinds) -> tuple[Group, ...]:
    """State which tensors leave their kernel: outputs, and what another group reads; `hold` says what of iterations is held."""
    home = {name: place for place, group in enumerate(groups) for name in group.names}
    leaving = set(cascade.outputs)
    for place, group in enumerate(groups):
        leaving.update(n for n in group.reads() if home.get(n, place) != place)
    kept = []
    for group in groups:
        group = replace(group, stored=tuple(n for n in group.names if n in leaving))
        group = hold(group) if group.iterative is not None else group
        always = {n for e in kinds[group.kind].in_memory(group) for n, _ in e.targets}
        kept.append(replace(group, stored=tuple(n for n in group.names if n in always or n in leaving)))
    return tuple(kept)


def found(
    statement: Einsum | Iteration, static: Mapping[str, bool], symbols: tuple[Symbol, ...], kinds: Iterable[FormingKind]
) -> Draft | None:
    """A new group of one statement, of the first kind that it can found; None if of none."""
    for kind in kinds:
        group = kind.found(statement, static, symbols)
        if group is not None:
            return Draft(group, {r.name: r for r in (*group.outer, *group.inner)})
    return None


@dataclass(frozen=True, slots=True)
class Unit:
    """Einsums that are to be one group, by the names of their tensors, and where the schedule says so."""

    names: tuple[str, ...]
    clause: tuple[str | int, ...] = ()
    kind: str | None = None
    """None for the first that fits."""


def form_groups(cascade: Cascade, units: Sequence[Unit], hold: Hold, kinds: Kinds) -> tuple[Group, ...]:
    """The group of each unit, in their order. Raises Illegal where einsums cannot be one, and for what is in none or in several."""
    forming = _Forming(units, static_tensors(cascade), cascade.symbols, kinds)
    for statement in cascade.statements:
        forming.add(statement)
    return with_stored(cascade, forming.finish(), hold, kinds)


@dataclass
class _Forming:
    """Groups under construction, and the einsums that wait for what comes before them."""

    units: Sequence[Unit]
    static: Mapping[str, bool]
    symbols: tuple[Symbol, ...]
    kinds: Kinds
    home: dict[str, int] = field(default_factory=dict)
    drafts: dict[int, Draft] = field(default_factory=dict)
    waiting: dict[str, Einsum] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, unit in enumerate(self.units):
            for name in unit.names:
                if name in self.home:
                    raise Illegal(f"{name} is computed twice", where=_say(unit), help="name it once", clause=unit.clause)
                self.home[name] = number

    def add(self, statement: Einsum | Iteration) -> None:
        """Put a statement into its group, or let it wait."""
        names = tuple(name for e in statement_einsums(statement) for name, _ in e.targets)
        missing = next((name for name in names if name not in self.home), None)
        if missing is not None:
            raise Illegal(
                f"no kernel computes {missing}",
                where="schedule",
                help=f"name it in a kernel or a group, or give it a kernel of its own: kernel k = nest({missing})",
            )
        number = self.home[names[0]]
        unit, draft = self.units[number], self.drafts.get(number)
        apart = next((name for name in names if self.home[name] != number), None)
        if apart is not None or (isinstance(statement, Iteration) and unit.names != names):
            raise Illegal(
                f"{names[0]} is computed together with {apart or ', '.join(unit.names)}",
                where=_say(unit),
                help=f"one kernel computes exactly these, in this order: {', '.join(names)}",
                clause=unit.clause,
            )
        if draft is None and unit.names[0] in names:
            self.drafts[number] = self._found(statement, unit)
        elif isinstance(statement, Iteration) or not self._join(statement, unit, draft):
            self.waiting.update({name: statement for name, _ in statement.targets} if isinstance(statement, Einsum) else {})

    def _found(self, statement: Einsum | Iteration, unit: Unit) -> Draft:
        kind = self.kinds.get(unit.kind or "")
        if unit.kind is not None and kind is None:
            raise Illegal(
                f"there is no kind of kernel {unit.kind!r}",
                where=_say(unit),
                help=f"the kinds are {', '.join(self.kinds)}",
                clause=unit.clause,
            )
        draft = found(statement, self.static, self.symbols, self.kinds.values() if kind is None else (kind,))
        if draft is None:
            fits = [k.name for k in self.kinds.values() if k.found(statement, self.static, self.symbols) is not None]
            raise Illegal(
                f"{unit.names[0]} cannot be computed by a {unit.kind}",
                where=_say(unit),
                help=f"it is for one of {', '.join(fits)}",
                clause=unit.clause,
            )
        return draft

    def _join(self, einsum: Einsum, unit: Unit, draft: Draft | None) -> bool:
        """Put an einsum into a group if what stands before it is there already, or is a map that it reads."""
        if draft is None or stands_first(einsum):
            return False
        early = self._early(einsum, unit)
        ready = {*draft.group.names, *(name for e in early for name, _ in e.targets)}
        if not ready.issuperset(unit.names[: unit.names.index(einsum.name)]):
            return False
        own = set(draft.group.names)
        mapping = unify_reads(einsum, draft) if any(name in own for name in einsum.reads()) else unify_sibling(einsum, draft)
        if mapping is None:
            # It has nothing in common with the group, but the maps that it reads may.
            return bool(early) and self._join_first(early, unit, draft) and self._join(einsum, unit, draft)
        mappings = map_early(early, einsum, complete(einsum, draft, mapping)) if early else {einsum.name: mapping}
        before = draft.group
        if mappings is None or not all(accept(e, draft, mappings[e.name], self.kinds) for e in (*early, einsum)):
            draft.group = before
            return False
        for e in early:
            del self.waiting[e.name]
        return True

    def _join_first(self, early: list[Einsum], unit: Unit, draft: Draft) -> bool:
        """Put waiting maps into a group each by itself; if one has no place there, none is put."""
        before, waiting = draft.group, dict(self.waiting)
        for e in early:
            self.waiting.pop(e.name, None)
            if not self._join(e, unit, draft):
                draft.group, self.waiting = before, waiting
                return False
        return True

    def _join_late(self, name: str, einsum: Einsum) -> bool:
        """Put an einsum that waits into its group, if it can be by now."""
        number = self.home[name]
        if name not in self.waiting or not self._join(einsum, self.units[number], self.drafts.get(number)):
            return False
        for target, _ in einsum.targets:
            self.waiting.pop(target, None)
        return True

    def _early(self, einsum: Einsum, unit: Unit) -> list[Einsum]:
        """The maps of a unit that wait for an einsum, and for each other, in order."""
        needed: set[str] = set()
        names = list(einsum.reads())
        while names:
            name = names.pop()
            if name in self.waiting and name in unit.names and name not in needed:
                needed.add(name)
                names += self.waiting[name].reads()
        return [self.waiting[name] for name in unit.names if name in needed]

    def finish(self) -> list[Group]:
        """The groups. Raises Illegal if something is left over, or a unit names what the cascade has not."""
        # A map may stand before what founds its kernel, and be read by another kernel.
        while any(self._join_late(name, einsum) for name, einsum in list(self.waiting.items())):
            pass
        for name in self.waiting:
            unit = self.units[self.home[name]]
            others = [other for other in unit.names if other != name]
            raise Illegal(
                f"{name} cannot be computed in one kernel with {', '.join(others)}",
                where=_say(unit),
                help="fuse a contraction with maps over its free ranks that come after it, maps with maps and with reductions over "
                "the same ranks; give the rest kernels of their own",
                clause=unit.clause,
            )
        for number, unit in enumerate(self.units):
            made = self.drafts[number].group.names if number in self.drafts else ()
            if set(made) != set(unit.names):
                unknown = next(name for name in unit.names if name not in made)
                raise Illegal(f"there is no einsum {unknown}", where=_say(unit), help="name einsums of the cascade", clause=unit.clause)
        return [self.drafts[number].group for number in range(len(self.units))]


def _say(unit: Unit) -> str:
    return f"the kernel of {', '.join(unit.names)}"


def stands_first(einsum: Einsum) -> bool:
    """Whether an einsum joins no group, but founds one: a scatter, or a contraction."""
    return einsum.is_scatter or is_contraction(einsum)


def unify_reads(einsum: Einsum, draft: Draft) -> dict[str, str] | None:
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


def unify_sibling(einsum: Einsum, draft: Draft) -> dict[str, str] | None:
    """Map ranks by a tensor that both read at bare ranks, or of which they read parts of the same pairs."""
    theirs = {load.tensor: load for e in draft.group.members for load in loads(e.expression)}
    for load in loads(einsum.expression):
        other = theirs.get(load.tensor)
        if other is None or load.outside is not None or other.outside is not None:
            continue
        here, there = _see_pairs(load.index), _see_pairs(other.index)
        is_paired = len(here) < len(load.index) and len(there) < len(other.index)
        pairs = [_same_walk(a, b) if is_paired else (a.as_variable, b.as_variable) for a, b in zip(here, there)]
        mapping = {a: b for a, b in pairs if a is not None and b is not None}
        if len(mapping) == len(pairs) == len(set(mapping.values())):
            return mapping
    return None


def _see_pairs(index: tuple[Index, ...]) -> tuple[Index, ...]:
    """An index that leaves out which part of a pair of neighbours it is of."""
    pair = pair_of(index[-1]) if index else None
    return index if pair is None else (*index[:-1], *([pair[0]] if pair[0] != ZERO else []))


def _same_walk(a: Index, b: Index) -> tuple[str | None, str | None]:
    """The variables along which two indices walk alike, in steps as large and from the same place; None if they do not."""
    first, second = _only_variable(a), _only_variable(b)
    if first is None or second is None or a.constant != b.constant or a.terms[0][1] != b.terms[0][1]:
        return None, None
    return first, second


def _only_variable(index: Index) -> str | None:
    """The variable of an index that is a multiple of one, up to a constant; None if it is not."""
    match index.terms:
        case (((Variable(name),), _),):
            return name
    return None


def accept(einsum: Einsum, draft: Draft, mapping: dict[str, str], kinds: Kinds) -> bool:
    """Add an einsum to a group if its ranks fit; the draft is unchanged if not."""
    if any(mapping.get(r.name) is None for r in einsum.ranks):
        mapping = complete(einsum, draft, mapping)
    mapping = _with_own(einsum, draft, mapping)
    if not _same_extents(einsum, draft, mapping):
        return False
    group = kinds[draft.group.kind].takes(rename_ranks(einsum, mapping), draft.group)
    if group is None or _counts_unchecked(group):
        return False
    draft.group = group
    return True


def _counts_unchecked(group: Group) -> bool:
    """Whether a member takes what another one counts, of a size that is not known, for an index.

    Inside a kernel that is no data any more, which alone is checked: J: i64[i:N] = i64[i] at W[J[i]] has to be in memory.
    """
    counted = {
        name
        for e in group.members
        if e.is_map and not all(extent.is_constant for extent in e.shape) and not loads(e.expression)
        for name, _ in e.targets
    }
    parts = (part for e in group.members for part in (e.expression, e.where) if part is not None)
    read = (inner for part in parts for load in loads(part) for i in load.index for inner in walk_index(i))
    return bool(counted) and any(isinstance(inner, Load) and inner.tensor in counted for inner in read)


def complete(einsum: Einsum, draft: Draft, mapping: dict[str, str]) -> dict[str, str]:
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


def _with_own(einsum: Einsum, draft: Draft, mapping: dict[str, str]) -> dict[str, str]:
    """The mapping with a name for the rank that a map has beside those of the group, if that is all it lacks."""
    lacking = [r for r in einsum.ranks if r.name not in mapping]
    if len(lacking) != 1 or not may_be_own(einsum, lacking[0]):
        return mapping
    taken = {*draft.ranks, *(r.name for e in draft.group.members for r in e.ranks)}
    return {**mapping, lacking[0].name: first_free(lengthened(lacking[0].name), taken)}


def _same_extents(einsum: Einsum, draft: Draft, mapping: dict[str, str]) -> bool:
    for rank in einsum.ranks:
        name = mapping.get(rank.name, "")
        other = draft.ranks.get(name)
        is_own = other is None and name and may_be_own(einsum, rank)
        if not is_own and (other is None or other.extent != rank.extent):
            return False
    return True


def map_early(early: list[Einsum], einsum: Einsum, mapping: dict[str, str]) -> dict[str, dict[str, str]] | None:
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
