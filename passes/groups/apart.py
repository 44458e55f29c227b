"""A contraction and the maps on its tile as two groups, so that a library of matrix products may compute the first.

    Y: f32[m:64, n:64] = sum(k:64) X[m, k] * W[k, n]; Z: f32[m:64, n:64] = maximum(Y[m, n], 0.0)        one kernel of a tile program
      =>
    Y by the library, and Z by a kernel that reads it from memory
"""

from __future__ import annotations

from dataclasses import replace

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Cast, Load
from tcomp.passes.einsums.group import Group


def take_apart(group: Group) -> tuple[Group, ...] | None:
    """A contraction, and as a group of its own what follows it; None for other groups."""
    if group.kind != "contract" or group.members[0].reduce is None:
        return None
    root, *maps = group.members
    if maps and maps[0].index == root.index and _rounds_alone(maps[0], root, group):
        # The library rounds its sums as it stores them.
        root, *maps = replace(root, targets=maps[0].targets), *maps[1:]
    first = Group("contract", (root,), group.outer, stored=(root.name,), fact=group.fact)
    if not maps:
        return (first,)
    kept = tuple(name for name in group.stored if name != root.name)
    return first, Group("nest", tuple(maps), group.outer, stored=kept)


def _rounds_alone(einsum: Einsum, root: Einsum, group: Group) -> bool:
    """Whether a map only rounds the root of a group, which nothing else reads."""
    rounds = einsum.expression == Cast(einsum.dtype, Load(root.name, root.index))
    return rounds and root.name not in group.stored and sum(root.name in e.reads() for e in group.members) == 1
