"""Absorb into an iteration the maps that only it reads and that are larger than all they are made of.

    E: f32[t:T, d:D, n:N] = exp(A[d, n] * V[t, d])
    iterate t:T {
      S: f32[t + 1:T + 1, d:D, n:N] = E[t, d, n] * S[t, d, n] from 0.0
    }
      =>
    iterate t:T {
      E: f32[t:T, d:D, n:N] = exp(A[d, n] * V[t, d])
      S: f32[t + 1:T + 1, d:D, n:N] = E[t, d, n] * S[t, d, n] from 0.0
    }

A step of E is then made where it is used, and T * D * N numbers are neither written nor read. A map no larger than what it reads stays
outside, where its points need not wait for one another.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Statement
from tcomp.ir.expressions import Index, Load, as_index
from tcomp.ir.traverse import rename_ranks
from tcomp.ir.walk import loads
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.rebuild import count_readers


def absorb_maps(cascade: Cascade) -> Cascade:
    """Move maps into the iterations that alone read them; the same cascade if there are none."""
    if not any(isinstance(s, Iteration) for s in cascade.statements):
        return cascade
    table = {s.name: s for s in cascade.statements if isinstance(s, Einsum) and s.is_map}
    shapes = {name: tensor.shape for name, tensor in cascade.tensors().items()}
    readers = count_readers(cascade)
    moved: set[str] = set()
    statements: list[Statement] = []
    for statement in reversed(cascade.statements):
        if isinstance(statement, Iteration):
            found = _Absorber(statement, table, shapes, readers).absorb()
            moved.update(e.name for e in found)
            statements.append(replace(statement, body=(*found, *statement.body)) if found else statement)
        elif statement.name not in moved:
            statements.append(statement)
    return cascade.with_statements(tuple(reversed(statements)))


class _Absorber:
    """What one iteration absorbs."""

    def __init__(
        self,
        iteration: Iteration,
        table: dict[str, Einsum],
        shapes: dict[str, tuple[Index, ...]],
        readers: dict[str, int],
    ) -> None:
        self.iteration = iteration
        self.table = table
        self.shapes = shapes
        self.readers = readers

    def absorb(self) -> list[Einsum]:
        """Members to put before the body, in order."""
        found: dict[str, Einsum] = {}
        for einsum in self.iteration.body:
            for load in _reads(einsum):
                if load.tensor in found or load.tensor not in self.table:
                    continue
                chain = self._chain(load, self.iteration.body)
                size = self._size(load.tensor)
                leaves = {n for e in (chain or {}).values() for n in e.reads() if n not in (chain or {})}
                if chain and all(self._size(leaf) < size for leaf in leaves):
                    found.update(chain)
        return list(found.values())

    def _size(self, name: str) -> int:
        return prod(typical(extent) for extent in self.shapes[name])

    def _chain(self, load: Load, readers: tuple[Einsum, ...]) -> dict[str, Einsum] | None:
        """The member that a map becomes, after members for the maps of its size that it reads; None if it must stay."""
        einsum = self._as_member(load, readers)
        if einsum is None:
            return None
        chain: dict[str, Einsum] = {}
        for read in _reads(einsum):
            if read.tensor in self.table and read.tensor not in chain and self._size(read.tensor) == self._size(load.tensor):
                chain.update(self._chain(read, (einsum,)) or {})
        return {**chain, einsum.name: einsum}

    def _as_member(self, load: Load, readers: tuple[Einsum, ...]) -> Einsum | None:
        """A map as a member of the iteration; None unless all its readers are given and read one step of it, alike."""
        t = as_index(self.iteration.rank.name)
        einsum = self.table[load.tensor]
        alike = [other for e in readers for other in _reads(e) if other.tensor == load.tensor]
        inside = any(e in self.iteration.body for e in readers)
        count = 1 if inside else sum(1 for e in readers if einsum.name in e.reads())
        if self.readers[einsum.name] != count or load.index.count(t) != 1 or len(einsum.targets) > 1:
            return None
        slot = load.index.index(t)
        if any(other.outside is not None or other.index.index(t) != slot if t in other.index else True for other in alike):
            return None
        if any(i.as_variable is None for other in alike for i in other.index):
            return None
        if einsum.shape[slot] != self.iteration.rank.extent or einsum.initial is not None:
            return None
        names = {r.name for r in einsum.free}
        mapping = {str(einsum.index[slot].as_variable): str(t.as_variable)}
        if t.as_variable in names and t.as_variable not in mapping:
            spare = next(n for k in range(len(names) + 1) if (n := f"{t.as_variable}.{k}") not in names)
            mapping[str(t.as_variable)] = spare
        return rename_ranks(einsum, mapping)


def _reads(einsum: Einsum) -> list[Load]:
    return [load for part in (einsum.expression, einsum.where) if part is not None for load in loads(part)]
