"""Sink maps into the map of another kernel that alone reads them: what is made for one reader need not be stored for it.

    A: f32[i:N, j:M] = W[j] * X[i, 3*j]                    X is read with steps, so that no two of the three fuse as they stand
    B: f32[i:N, j:M] = V[j] * X[i, 3*j + 1]
    Z: f32[i:N, j:M] = A[i, j] + B[i, j]
      =>
    Z: f32[i:N, j:M] = W[j] * X[i, 3*j] + V[j] * X[i, 3*j + 1]

Only where no point is computed twice, neighbours stay neighbours, and what lives at once does not grow: the operands of a map live on
until its reader has run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.expressions import ONE, Expr, Load, as_index
from tcomp.ir.index import simplify_indices
from tcomp.ir.walk import index_variables, loads, map_load_indices, map_loads, substitute, walk
from tcomp.passes.cascade.inline import keeps_checks, read_through
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.group import Group


def sink_maps(
    groups: tuple[Group, ...], cascade: Cascade, names: Collection[str] | None = None, largest: int | None = None
) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """Compute maps in the kernel that alone reads them: those that make the tensors named, or all that can.

    No expression grows beyond so many nodes. Returns the groups that are left, and those that are gone.
    """
    return _Sinking(groups, cascade, names, largest).sink()


def _is_map(group: Group) -> bool:
    return group.kind == "nest" and not group.inner and all(e.is_map for e in group.members)


class _Sinking:
    """Groups from which maps are taken, first to last."""

    def __init__(self, groups: tuple[Group, ...], cascade: Cascade, names: Collection[str] | None, largest: int | None) -> None:
        self.groups = list(groups)
        self.names = names
        self.largest = largest
        self.cascade = cascade
        self.tensors: Mapping[str, Tensor] = cascade.tensors()
        self.home = {name: place for place, group in enumerate(groups) for name in group.stored}
        self.reads: dict[str, int] = {}
        for group in groups:
            for einsum in group.members:
                for name in _names_read(einsum):
                    self.reads[name] = self.reads.get(name, 0) + 1
        self.gone: set[int] = set()

    def sink(self) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
        """The groups that are left, and those that are gone."""
        for place, group in enumerate(self.groups):
            if _is_map(group):
                members = tuple(self._read_member(e) for e in group.members)
                self.groups[place] = replace(group, members=members)
        left = tuple(group for place, group in enumerate(self.groups) if place not in self.gone)
        return left, tuple(self.groups[place] for place in sorted(self.gone))

    def _read_member(self, einsum: Einsum) -> Einsum:
        bounds = einsum.bounds(self.cascade.symbols)
        taken: list[int] = []

        def read(load: Load) -> Expr:
            made = self._made_for(einsum, load)
            if made is None or not keeps_checks(made, load, self.tensors, bounds):
                return load
            taken.append(self.home[load.tensor])
            return read_through(made, load, self.tensors, bounds)

        expression = map_loads(einsum.expression, read)
        if not taken or (self.largest is not None and sum(1 for _ in walk(expression)) > self.largest):
            return einsum
        self.gone.update(taken)
        return replace(einsum, expression=simplify_indices(expression, bounds))

    def _made_for(self, reader: Einsum, load: Load) -> Einsum | None:
        """The map of another kernel that a load alone reads, as one einsum; None if it is to stay."""
        place = self.home.get(load.tensor)
        if place is None or load.outside is not None or load.tensor in self.cascade.outputs or self.reads[load.tensor] != 1:
            return None
        if self.names is not None and load.tensor not in self.names:
            return None
        group = self.groups[place]
        if not _is_map(group) or group.stored != (load.tensor,) or reader in group.members or not _walks_once(reader, load, self.tensors):
            return None
        return _as_one(group)


def _names_read(einsum: Einsum) -> list[str]:
    """The tensor of each load, once for every time it is read; what an index or an initial value reads is read there too."""
    parts = [part for part in (einsum.expression, einsum.where, einsum.initial) if part is not None]
    direct = [load.tensor for part in parts for load in loads(part)]
    return [*direct, *(name for name in einsum.reads() if name not in direct)]


def _walks_once(reader: Einsum, load: Load, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a reader finds no element of a tensor twice, and neighbours along its last rank next to each other."""
    shape = tensors[load.tensor].shape
    ranks = [r for r in reader.free if r.extent != ONE]
    used = {name for i in load.index for name in index_variables(i)}
    points, elements = ([typical(e) for e in extents] for extents in ([r.extent for r in ranks], shape))
    if not ranks or not load.index or not {r.name for r in ranks} <= used or prod(points) > prod(elements):
        return False
    last = as_index(ranks[-1].name)
    return ranks[-1].name not in index_variables(load.index[-1] - last)


def _as_one(group: Group) -> Einsum | None:
    """The last map of a group over what the group reads; None if a map in it is read more than once."""
    table = {e.name: e for e in group.members}
    found = [load.tensor for e in group.members for load in loads(e.expression) if load.tensor in table]
    if len(found) != len(set(found)) or any(len(e.targets) > 1 or e.where is not None for e in group.members):
        return None

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        maker = table.get(load.tensor)
        if maker is None:
            return load
        return substitute(map_loads(maker.expression, read), {str(s.as_variable): i for s, i in zip(maker.index, load.index)})

    (name,) = group.stored
    return replace(table[name], expression=map_loads(table[name].expression, read))
