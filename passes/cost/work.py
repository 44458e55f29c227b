"""The work of a kernel: the operations that its einsums take and the bytes that it has to move, whatever its loops are.

Operations. Every operator of `tcomp.ir.operators` that is applied to data counts as one, transcendental functions included, whatever
the element type: a multiply-add is two. One is counted for every point of the ranks that it depends on, equal ones of a kernel once:

    E[p, m] / D[p] * V[m, f]   =>   P*M for the division, P*M*F for the product

A reduction counts what joining two states of its monoid takes, at every point: one for a sum. Conversions count as none, and so does
what depends on positions alone (addresses, masks). What `where` leaves out, and what is read outside a tensor, is counted all the same;
what a kernel computes again because keeping it would cost more is not.

Bytes. Every tensor that is read counts once, as far as it is reached, and so does every tensor that is written to memory; what stays
within the kernel counts as none. How far a tensor is reached is bounded in several ways (the box around all indices, the points that
read it, the whole tensor), of which the least holds for given sizes. Dimensions of stride 0 are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Protocol

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import DType, f32, f64
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.expressions import ONE, ZERO, Apply, Cast, Expr, Index, Load, as_index
from tcomp.ir.index import Bounds, interval, is_data
from tcomp.ir.monoids import MONOIDS, state_names
from tcomp.ir.traverse import einsum_loads
from tcomp.ir.walk import index_variables, variables
from tcomp.passes.einsums.group import Group


class Memory(Protocol):
    """How a tensor lies in memory, as `tcomp.passes.bind.arguments` says; strides are in elements."""

    @property
    def dtype(self) -> DType:
        """Its element type."""

    @property
    def shape(self) -> tuple[Index, ...]:
        """Its extents."""

    @property
    def strides(self) -> tuple[Index, ...]:
        """The distance of neighbours along each of them."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a kernel moves of one tensor, in bytes: `whole` at most, and of each of its accesses at most each of some bounds."""

    tensor: str
    is_written: bool
    whole: Index
    accesses: tuple[tuple[Index, ...], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one call of a kernel."""

    operations: Index
    dtype: DType
    """What most of them compute in: f64, or f32 for everything else, narrow floats among it."""
    traffic: tuple[Traffic, ...]


NO_WORK = Work(ZERO, f32, ())


def count_traffic(traffic: Traffic, sizes: Mapping[str, int]) -> int:
    """The bytes that are moved of a tensor at given sizes."""
    touched = sum(min(extent_value(bound, sizes) for bound in bounds) for bounds in traffic.accesses)
    return max(0, min(extent_value(traffic.whole, sizes), touched))


def count_bytes(work: Work, sizes: Mapping[str, int]) -> int:
    """The bytes that a kernel has to move at given sizes."""
    return sum(count_traffic(traffic, sizes) for traffic in work.traffic)


def find_work(group: Group, memories: Mapping[str, Memory]) -> Work:
    """The work of a group's kernel, whose tensors lie in memory like these."""
    return Work(_count_operations(group), f64 if group.root.dtype == f64 else f32, tuple(_find_traffic(group, memories)))


def _extents(einsum: Einsum, group: Group) -> dict[str, Index]:
    """The ranks of an einsum, that of the iteration included: a slot one step ahead is no rank."""
    ranks = (*einsum.slot_ranks, *einsum.reduced, *((group.iterative,) if group.iterative is not None else ()))
    return {rank.name: rank.extent for rank in ranks}


def _points(names: Iterable[str], extents: Mapping[str, Index]) -> Index:
    return reduce(mul, (extents[name] for name in sorted(set(names)) if name in extents), ONE)


def _count_operations(group: Group) -> Index:
    total = ZERO
    seen: set[tuple[Expr, Index]] = set()
    for einsum in group.members:
        extents = _extents(einsum, group)
        for part in (einsum.expression, einsum.where, einsum.initial):
            for node in _operations(part) if part is not None else ():
                counted = node, _points(variables(node), extents)
                if counted not in seen:
                    seen.add(counted)
                    total = total + counted[1]
        if einsum.reduce is not None:
            ranks = {rank.name for rank in einsum.ranks} | ({group.iterative.name} if group.iterative is not None else set())
            total = total + _points(ranks, extents) * _joining(einsum.reduce, einsum.dtype)
    return total


def _joining(name: str, dtype: DType) -> int:
    """Operations that join two states of a monoid."""
    monoid = MONOIDS[name]
    merged = monoid.merge(state_names("a", monoid.arity), state_names("b", monoid.arity), dtype)
    return len({node for state in merged for node in _operations(state)})


def _operations(expression: Expr) -> Iterator[Apply]:
    """Operators that are applied to data, those of indices left out."""
    match expression:
        case Apply(_, arguments):
            inner = [node for argument in arguments for node in _operations(argument)]
            yield from inner
            if inner or any(_is_element(argument) for argument in arguments):
                yield expression
        case Cast(_, argument):
            yield from _operations(argument)
        case _:
            pass


def _is_element(expression: Expr) -> bool:
    return _is_element(expression.argument) if isinstance(expression, Cast) else isinstance(expression, Load)


def _find_traffic(group: Group, memories: Mapping[str, Memory]) -> Iterator[Traffic]:
    own = set(group.names)
    read: dict[str, dict[object, tuple[Index, ...]]] = {}
    for einsum in group.members:
        extents = _extents(einsum, group)
        for load in einsum_loads(einsum):
            if load.tensor not in own:
                place, bounds = _reach(load, memories[load.tensor], extents)
                read.setdefault(load.tensor, {})[place] = bounds
    for name, accesses in read.items():
        yield Traffic(name, False, _whole(memories[name]), tuple(accesses.values()))
    shapes = {name: einsum.shape for einsum in group.members for name, _ in einsum.targets}
    for name in group.stored:
        memory = memories[name]
        yield Traffic(name, True, _whole(memory), ((reduce(mul, shapes[name], ONE) * memory.dtype.bytes,),))


def _whole(memory: Memory) -> Index:
    """The bytes of all elements; those that lie in one place count once."""
    extents = (extent for extent, stride in zip(memory.shape, memory.strides) if stride != ZERO)
    return reduce(mul, extents, ONE) * memory.dtype.bytes


def _reach(load: Load, memory: Memory, extents: Mapping[str, Index]) -> tuple[object, tuple[Index, ...]]:
    """Where a load reads, and the bytes that it reaches at most: equal places are one access."""
    ranges = Bounds(extents)
    place: list[object] = []
    box = ONE
    for index, extent, stride in zip(load.index, memory.shape, memory.strides):
        if stride == ZERO:
            place.append(None)
            continue
        low, high = (None, None) if is_data(index) else interval(index, ranges)
        name = index.as_variable
        if low is not None and high is not None and extent.is_constant:
            low, high = max(low, 0), min(high, extent.constant - 1)
            place.append((low, high))
            box = box * as_index(max(0, high - low + 1))
        elif name is not None and name in extents:
            place.append(extents[name])
            box = box * extents[name]
        else:
            place.append(index)
            box = box * (ONE if index.is_constant else extent)
    names = {n for index, stride in zip(load.index, memory.strides) if stride != ZERO for n in index_variables(index)}
    bounds = tuple(dict.fromkeys(size * memory.dtype.bytes for size in (box, _points(names, extents))))
    if all(bound.is_constant for bound in bounds):
        bounds = (min(bounds, key=lambda bound: bound.constant),)
    return tuple(place), bounds
