"""Scatters of which many instances write at once: which may, and the fill that comes before them."""

from __future__ import annotations

from dataclasses import replace

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Variable, as_index
from tcomp.ir.index import is_data
from tcomp.passes.einsums.facts import initial_of
from tcomp.passes.einsums.group import Group

ATOMIC_DTYPES = frozenset({"f32", "f64", "i32", "i64"})
"""Element types that the hardware merges in one step."""

EXACT_MONOIDS = frozenset({"sum", "max", "min", "xor"})
"""Merges of integers that give the same result in any order, and that the hardware has."""


def expand_scatters(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Put a group that fills the target before every scatter; the same groups if there is none."""
    expanded: list[Group] = []
    for group in groups:
        if group.kind == "scatter":
            expanded.append(_fill_group(group))
        expanded.append(group)
    return groups if len(expanded) == len(groups) else tuple(expanded)


def _fill_group(group: Group) -> Group:
    (einsum,) = group.members
    slots = tuple(as_index(rank.name) for rank in einsum.slot_ranks)
    fill = Einsum(einsum.targets, slots, einsum.shape, initial_of(einsum), source=einsum.source)
    return replace(group, kind="fill", members=(fill,), outer=fill.free)


def is_concurrent(einsum: Einsum, *, is_atomic: bool) -> bool:
    """Whether all points of a scatter may be folded at once; `is_atomic` allows that for sums of floats."""
    return names_points(einsum) or can_merge(einsum.reduce, einsum.dtype, is_atomic=is_atomic)


def can_merge(monoid: str | None, dtype: DType, *, is_atomic: bool) -> bool:
    """Whether the hardware has an atomic merge that is right for a monoid."""
    if dtype.name not in ATOMIC_DTYPES:
        return False
    return monoid in EXACT_MONOIDS if dtype.is_int else is_atomic and monoid == "sum"


def names_points(einsum: Einsum) -> bool:
    """Whether each reduced rank stands alone in a slot, so that no two points meet: `Y[2*i + 1, d]`."""
    left = {r.name for r in einsum.reduced}
    for index in einsum.index:
        if is_data(index):
            continue
        atoms = [monomial[0] for monomial, _ in index.terms if len(monomial) == 1]
        if len(index.terms) == len(atoms) == 1 and isinstance(atoms[0], Variable):
            left.discard(atoms[0].name)
    return not left
