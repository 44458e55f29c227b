"""Join ranks of a kernel: several are walked as one, and what lies along them in memory as along one is seen as such.

    Y[p, q, k] = sum(c) X[p + 1, q + 1, c] * W[k, c]; Z[p, q, k] = Y[p, q, k] + R[p, q, k]          join p_q (p, q)
      =>
    R seen as x2: f32[P*Q, K], read at x2[p_q, k]; Z as f32[P*Q, K]; X is read at [p_q // Q + 1, p_q % Q + 1, c]

Unlike `merge_ranks` this needs nothing of the accesses: where memory does not walk the ranks as one, they are decoded by division.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.expressions import ONE, ZERO, Expr, Index, Load, as_index
from tcomp.ir.index import Bounds, simplify_index
from tcomp.ir.names import counted, first_free
from tcomp.ir.traverse import map_einsum_loads
from tcomp.ir.walk import map_load_indices, substitute_index
from tcomp.passes.bind.arguments import Bound, Memory, Operand
from tcomp.passes.einsums.group import rewrite_group


def joint_rank(name: str, ranks: tuple[Rank, ...]) -> tuple[Rank, dict[str, Index]]:
    """The rank that walks several as one, the last one fastest, and each of them decoded from it."""
    whole = steps = ONE
    places: dict[str, Index] = {}
    # A rank without points has none to decode: it divides as one of a single point would.
    sizes = {rank.name: ONE if rank.extent == ZERO else rank.extent for rank in ranks}
    for rank in reversed(ranks):
        places[rank.name] = as_index(name) // steps
        whole, steps = whole * rank.extent, steps * sizes[rank.name]
    bounds = Bounds({name: whole})
    decoded = {r.name: places[r.name] if r is ranks[0] else places[r.name] % sizes[r.name] for r in ranks}
    return Rank(name, whole), {n: simplify_index(index, bounds) for n, index in decoded.items()}


def join_arguments(bound: Bound, joined: tuple[tuple[str, tuple[str, ...]], ...]) -> Bound:
    """Give arguments that lie along joined ranks as along one a view that says so; the same value if there is none."""
    if not joined:
        return bound
    ranks = {r.name: r for e in bound.group.members for r in e.ranks}
    places: dict[str, Index] = {}
    extents = {name: r.extent for name, r in ranks.items()}
    for name, parts in joined:
        joint, decoded = joint_rank(name, tuple(ranks[part] for part in parts))
        extents[name] = joint.extent
        places.update(decoded)
    return _Joining(bound, places, Bounds(extents)).join()


class _Joining:
    """A group whose arguments are looked at again."""

    def __init__(self, bound: Bound, places: Mapping[str, Index], bounds: Bounds) -> None:
        self.bound = bound
        self.places = dict(places)
        self.bounds = bounds
        self.operands: dict[str, Operand] = {}
        self.names: dict[Operand, str] = {}

    def join(self) -> Bound:
        """The group over new views."""
        group = rewrite_group(self.bound.group, self._read_member)
        slots: dict[str, tuple[Index, ...]] = {}
        for einsum in group.members:
            for name, _ in einsum.targets:
                if name in self.bound.operands:
                    memory, index = self.bound.operands[name].memory, einsum.index
                    # What an iteration makes is found step by step, in the dimensions that it has.
                    if not einsum.is_scatter and group.kind != "scan":
                        memory, index = self._look(memory, index)
                    self.operands[name] = replace(self.bound.operands[name], memory=memory)
                    slots[name] = index
        return Bound(group, self.operands, slots)

    def _read_member(self, einsum: Einsum) -> Einsum:
        read = partial(self._read, own={name for name, _ in einsum.targets})
        return map_einsum_loads(einsum, read)

    def _read(self, load: Load, own: set[str]) -> Expr:
        load = map_load_indices(load, partial(self._read, own=own))
        operand = self.bound.operands.get(load.tensor)
        if operand is None:
            return load
        if load.tensor in self.bound.group.stored:
            return load
        memory, index = (operand.memory, load.index) if load.outside is not None else self._look(operand.memory, load.index)
        return Load(self._name(Operand(operand.tensor, memory), load.tensor), index, load.outside)

    def _name(self, operand: Operand, wanted: str) -> str:
        """The argument of a view; a second view of what was one argument gets a name of its own."""
        if operand not in self.names:
            name = first_free(counted(wanted, "_"), self.operands, self.bound.operands.keys() - {wanted})
            self.names[operand] = name
            self.operands[name] = operand
        return self.names[operand]

    def _look(self, memory: Memory, index: tuple[Index, ...]) -> tuple[Memory, tuple[Index, ...]]:
        """Memory seen with neighbouring dimensions as one wherever that spares a division."""
        shape, strides = list(memory.shape), list(memory.strides)
        walked = [self._decode(i) for i in index]
        plain = [self._shorter(i, joint) for i, joint in zip(index, walked)]
        dimension = 0
        while dimension + 1 < len(shape):
            below = dimension + 1
            if strides[dimension] != strides[below] * shape[below]:
                dimension += 1
                continue
            joint = simplify_index(walked[dimension] * shape[below] + walked[below], self.bounds)
            if _divisions(joint) >= _divisions(walked[dimension]) + _divisions(walked[below]):
                dimension += 1
                continue
            shape[dimension : below + 1] = [shape[dimension] * shape[below]]
            strides[dimension : below + 1] = [strides[below]]
            walked[dimension : below + 1] = [joint]
            plain[dimension : below + 1] = [joint]
            dimension = max(0, dimension - 1)
        return replace(memory, shape=tuple(shape), strides=tuple(strides)), tuple(plain)

    def _shorter(self, index: Index, decoded: Index) -> Index:
        """The index over joint ranks if they spare a division, else as it is."""
        return decoded if _divisions(decoded) < _divisions(substitute_index(index, self.places)) else index

    def _decode(self, index: Index) -> Index:
        return simplify_index(substitute_index(index, self.places), self.bounds)


def _divisions(index: Index) -> int:
    """How many quotients and remainders an index has."""
    return sum(hasattr(atom, "denominator") for monomial, _ in index.terms for atom in monomial)

