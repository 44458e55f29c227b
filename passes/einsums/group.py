"""A group: the einsums of one kernel, over common rank names. What its loops are, its kind says (`tcomp.passes.kinds`).

What was found when its kind was decided, the group holds as its fact, so that nobody looks for it again. A fact names members and ranks,
and counts places in their expressions; the rest is read off the members as they are by then (`contraction_of`, `prefix_of`,
`read_one_pass`). So it holds whatever a pass exchanges in them, and `rewrite_group` follows what is renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.expressions import as_index


@dataclass(frozen=True, slots=True)
class Window:
    """Groups that run in turns, each computing so many steps of an iteration at a time, which is named by its first tensor."""

    iteration: str
    steps: int


@dataclass(frozen=True, slots=True)
class Product:
    """Of a contraction: which factor of the root's product is the right one, and the rank that gives the lanes."""

    right: int
    """0 or 1."""
    lanes: str
    panel: int | None = None
    """The width of the panels of lanes in which the right factor is packed; None if it is not."""


@dataclass(frozen=True, slots=True)
class Form:
    """Of a reduction in one pass: how its terms split (`tcomp.passes.one_pass.derive`)."""

    name: str
    reference: str | None = None
    """The running maximum that is subtracted in the terms."""
    scale: tuple[int, ...] = ()
    """Places of the factors of a term that are multiplied in at the end."""
    is_guarded: bool = False


@dataclass(frozen=True, slots=True)
class OnePass:
    """Of a chain: the reductions of its nest, in order, and at last the sum that reads the nest's result, all in one pass."""

    forms: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """Of an iteration: it carries the member `state`, which folds one argument of its operator with a monoid; the rest are maps of it."""

    state: str
    monoid: str
    value: int
    """The place of that argument: 0 or 1."""


Fact: TypeAlias = Product | OnePass | Prefix


@dataclass(frozen=True, slots=True)
class Group:
    """Einsums fused into one kernel, in order; `stored` names the tensors that lie in memory.

    Of those in `rolling` memory has so many steps of the iteration: step t lies at t modulo their number.
    """

    kind: str
    members: tuple[Einsum, ...]
    outer: tuple[Rank, ...]
    inner: tuple[Rank, ...] = ()
    iterative: Rank | None = None
    stored: tuple[str, ...] = ()
    rolling: tuple[tuple[str, int], ...] = ()
    parts: tuple[Group, ...] = ()
    window: Window | None = None
    held: frozenset[str] = frozenset()
    """Members of an iteration of which a step is kept close to the core."""
    again: frozenset[str] = frozenset()
    """Members that are not kept at all: whoever reads them computes them again."""
    fact: Fact | None = None
    """What was found: of every contraction a product, of a chain in one pass its forms, of an iteration that only folds its prefix."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors the group defines."""
        return tuple(name for e in self.members for name, _ in e.targets)

    @property
    def root(self) -> Einsum:
        """The first member that reduces, else the last."""
        return next((e for e in self.members if e.reduce is not None), self.members[-1])

    def steps_of(self, name: str) -> int | None:
        """How many steps of a tensor memory has; None if all."""
        return next((count for rolling, count in self.rolling if rolling == name), None)

    def reads(self) -> tuple[str, ...]:
        """Tensors read from outside the group."""
        own = set(self.names)
        return tuple(dict.fromkeys(name for e in self.members for name in e.reads() if name not in own))


PARTS = as_index(2)
"""The extent of a rank that a member may have of its own: two parts, as real and imaginary ones, are computed side by side."""


def may_be_own(einsum: Einsum, rank: Rank) -> bool:
    """Whether a map may have a rank beside those of its group, all points of which are computed together."""
    return einsum.is_map and len(einsum.targets) == 1 and not einsum.is_scatter and rank.extent == PARTS


def own_ranks(group: Group, einsum: Einsum) -> tuple[Rank, ...]:
    """The ranks of a member that are not the group's; none of a group with inner ranks, whose rows a chain walks by ranks of its own."""
    shared = {r.name for r in group.outer}
    return () if group.inner else tuple(r for r in einsum.free if r.name not in shared)


def rewrite_group(
    group: Group,
    change: Callable[[Einsum], Einsum],
    ranks: Callable[[tuple[Rank, ...]], tuple[Rank, ...]] | None = None,
    names: Mapping[str, str] | None = None,
) -> Group:
    """A group with other members, in its parts as well: `change` says of each what it becomes, `ranks` the same of outer or inner ranks.

    `names` are the new names of ranks, also of those that became part of another. The same group if nothing changed.
    """
    members = tuple(change(e) for e in group.members)
    if ranks is None and names is None and all(new is old for new, old in zip(members, group.members)):
        return group
    return _with_members(group, {old.name: new for old, new in zip(group.members, members)}, ranks or tuple, names or {})


def _with_members(
    group: Group,
    members: Mapping[str, Einsum],
    ranks: Callable[[tuple[Rank, ...]], tuple[Rank, ...]],
    names: Mapping[str, str],
) -> Group:
    fact = group.fact
    return replace(
        group,
        members=tuple(members[e.name] for e in group.members),
        outer=ranks(group.outer),
        inner=ranks(group.inner),
        parts=tuple(_with_members(part, members, ranks, names) for part in group.parts),
        fact=replace(fact, lanes=names.get(fact.lanes, fact.lanes)) if isinstance(fact, Product) else fact,
    )


def leave_out(names: Iterable[str], others: Collection[str]) -> tuple[str, ...]:
    """Names that are not among others, in order."""
    return tuple(name for name in names if name not in others)
