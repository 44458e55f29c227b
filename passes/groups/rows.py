"""Split long reductions with few results into parts for the threads of a CPU, phase by phase of a nest.

    M: f32[p:2] = max(m:100000) X[p, m]
    E: f32[p:2, m:100000] = exp(X[p, m] - M[p])
    D: f32[p:2] = sum(m:100000) E[p, m]
    Z: f32[p:2, m:100000] = E[p, m] / D[p]
      =>
    M.part: f32[part:2, p:2] = max(m:50000) X[p, m + 50000*part]
    M: f32[p:2] = max(part:2) M.part[part, p]
    D.part: f64[part:2, p:2] = sum(m:50000) exp(X[p, m + 50000*part] - M[p])
    D.sum: f64[p:2] = sum(part:2) D.part[part, p]
    D: f32[p:2] = f32(D.sum[p])
    E: f32[p:2, m:100000] = exp(X[p, m] - M[p])
    Z: f32[p:2, m:100000] = E[p, m] / D[p]

What a kernel of few instances leaves undone is done by one thread while the others wait. How many parts there are and the order in which
they are folded depend on sizes alone, so results are the same for any number of threads. A last part takes what does not divide.
Maps along a row are computed again in each phase, as in the nest: such a row fits no cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tcomp.ir.cascade import Cascade, Einsum, Rank
from tcomp.ir.dtypes import compute_dtype, f64
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Cast, Expr, Index, Load, apply, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.names import fresh
from tcomp.ir.traverse import map_values
from tcomp.ir.walk import map_load_indices, map_loads, substitute
from tcomp.passes.einsums.facts import is_long_product, is_long_sum
from tcomp.passes.einsums.group import Group


def split_rows(groups: tuple[Group, ...], cascade: Cascade, choose: Callable[[Group], tuple[str, int] | None]) -> tuple[Group, ...]:
    """Split the reductions of nests as chosen; the same groups if none is. Raises Illegal for parts that cannot be."""
    taken = set(cascade.tensors())
    kept: list[Group] = []
    for group in groups:
        found = choose(group) if has_rows(group) else None
        kept += [group] if found is None else _Split(group, _find_cut(group, *found), taken).groups()
    return groups if len(kept) == len(groups) else tuple(kept)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which rank is cut into how many parts of which length."""

    rank: Rank
    count: int
    length: int

    @property
    def rest(self) -> int:
        """Steps that remain after all parts."""
        return self.rank.extent.constant - self.count * self.length


def has_rows(group: Group) -> bool:
    """Whether the rows of a group can be cut: all its reductions fold whole rows of known length."""
    reductions = [e for e in group.members if e.reduce is not None]
    if group.kind != "nest" or not reductions or not all(_is_plain(e, group) for e in reductions):
        return False
    return all(r.extent.is_constant and r.extent.constant for r in (*group.outer, *group.inner))


def _find_cut(group: Group, name: str, count: int) -> Cut:
    rank = next((r for r in group.inner if r.name == name), None)
    if rank is None or not 1 <= count <= rank.extent.constant:
        raise Illegal(
            f"the rows have no rank {name} of {count} steps or more",
            where=f"the group of {', '.join(group.names)}",
            help=f"cut one of {', '.join(f'{r.name}:{r.extent}' for r in group.inner)}",
        )
    return Cut(rank, count, rank.extent.constant // count)


def _is_plain(einsum: Einsum, group: Group) -> bool:
    """Whether a reduction folds the whole row by an operator, in any order."""
    return (
        einsum.reduce is not None
        and MONOIDS[einsum.reduce].operator is not None
        and len(einsum.targets) == 1
        and einsum.initial is None
        and all(i.as_variable is not None for i in einsum.index)
        and {r.name for r in einsum.reduced} == {r.name for r in group.inner}
    )


class _Split:
    """A group whose rows are being split."""

    def __init__(self, group: Group, cut: Cut, taken: set[str]) -> None:
        self.group = group
        self.cut = cut
        self.taken = taken
        self.part = Rank(fresh("part", {r.name for e in group.members for r in e.ranks}), as_index(cut.count))
        self.maps = {e.name: e for e in group.members if e.reduce is None and self._walks_row(e)}

    def groups(self) -> list[Group]:
        """For each phase the parts, what does not divide, and the fold; at last the maps along the row."""
        phases = self._find_phases()
        made: list[Group] = []
        early = self._points(phases, 0)
        if early:
            made.append(Group("nest", early, self.group.outer))
        for phase in range(max(phases.values()) + 1):
            reductions = [e for e in self.group.members if e.reduce is not None and phases[e.name] == phase]
            if reductions:
                made += self._phase(reductions, self._points(phases, phase + 1))
        row = self._needed(name for name in self.maps if name in self.group.stored)
        if row:
            made.append(Group("nest", row, (*self.group.outer, *self.group.inner)))
        return self._with_stored(made)

    def _walks_row(self, einsum: Einsum) -> bool:
        return bool({r.name for r in einsum.ranks} & {r.name for r in self.group.inner})

    def _find_phases(self) -> dict[str, int]:
        """The phase in which each member is computed: one after the last reduction that it depends on."""
        members = {e.name: e for e in self.group.members}
        found: dict[str, int] = {}
        for einsum in self.group.members:
            reads = [members[name] for name in einsum.reads() if name in members]
            found[einsum.name] = max((found[e.name] + (e.reduce is not None) for e in reads), default=0)
        return found

    def _points(self, phases: dict[str, int], phase: int) -> tuple[Einsum, ...]:
        """The maps over results that are ready before a phase and not before the one before it."""
        return tuple(e for e in self.group.members if e.reduce is None and e.name not in self.maps and phases[e.name] == phase)

    def _needed(self, names: Iterable[str]) -> tuple[Einsum, ...]:
        """Maps along the row and those that they read, in order."""
        needed: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in self.maps and name not in needed:
                needed.add(name)
                waiting += self.maps[name].reads()
        return tuple(e for e in self.group.members if e.name in needed)

    def _phase(self, reductions: Sequence[Einsum], points: tuple[Einsum, ...]) -> list[Group]:
        whole = [self._widened(e) for e in reductions]
        length = as_index(self.cut.length)
        parts = [self._make_part(e, as_index(self.part.name) * length, length, "part") for e in whole]
        inner = parts[0].reduced
        made = [Group("nest", tuple(parts), (self.part, *self.group.outer), inner)]
        rests: list[Einsum] = []
        if self.cut.rest:
            rests = [self._make_part(e, length * self.cut.count, as_index(self.cut.rest), "rest") for e in whole]
            made.append(Group("nest", tuple(rests), self.group.outer, rests[0].reduced))
        folds: list[Einsum] = []
        for place, (old, part) in enumerate(zip(reductions, parts)):
            folds += self._fold(old, part, rests[place] if rests else None)
        return [*made, Group("nest", (*folds, *points), self.group.outer, (self.part,))]

    def _widened(self, einsum: Einsum) -> Einsum:
        """A reduction with the maps along the row inside, in the type in which its parts are kept."""

        def read(load: Load) -> Expr:
            load = map_load_indices(load, read)
            made = self.maps.get(load.tensor)
            return load if made is None else map_loads(made.expression, read)

        dtype = f64 if is_long_sum(einsum) or is_long_product(einsum) else compute_dtype(einsum.dtype)
        return replace(map_values(einsum, lambda value: map_loads(value, read)), targets=((einsum.name, dtype),))

    def _make_part(self, einsum: Einsum, start: Index, length: Index, suffix: str) -> Einsum:
        """The reduction of a stretch of the row; one that starts at the number of a part makes all parts."""
        name = self.cut.rank.name
        place = {name: start + as_index(name)}
        is_many = suffix == "part"
        return replace(
            map_values(einsum, lambda value: substitute(value, place)),
            targets=((fresh(f"{einsum.name}.{suffix}", self.taken), einsum.dtype),),
            index=(*((as_index(self.part.name),) if is_many else ()), *einsum.index),
            shape=(*((self.part.extent,) if is_many else ()), *einsum.shape),
            reduced=tuple(Rank(r.name, length) if r.name == name else r for r in einsum.reduced),
        )

    def _fold(self, old: Einsum, part: Einsum, rest: Einsum | None) -> list[Einsum]:
        """What folds the parts into the old tensor."""
        assert old.reduce is not None
        value = Load(part.name, part.index)
        if rest is None and part.dtype == old.dtype:
            return [replace(old, expression=value, reduced=(self.part,), where=None)]
        name = fresh(f"{old.name}.{old.reduce}", self.taken)
        fold = replace(old, targets=((name, part.dtype),), expression=value, reduced=(self.part,), where=None)
        total: Expr = Load(name, old.index)
        if rest is not None:
            operator = MONOIDS[old.reduce].operator
            assert operator is not None
            total = apply(operator, total, Load(rest.name, rest.index))
        total = total if part.dtype == old.dtype else Cast(old.dtype, total)
        return [fold, replace(old, expression=total, reduce=None, reduced=(), where=None)]

    def _with_stored(self, groups: list[Group]) -> list[Group]:
        """The groups with what leaves them: what the group stored, and what another of them reads."""
        kept = set(self.group.stored)
        for group in groups:
            kept.update(group.reads())
        return [replace(g, stored=tuple(name for name in g.names if name in kept)) for g in groups]
