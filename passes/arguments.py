"""Arguments of a kernel: how a group sees the memory of the tensors it touches.

A view is (shape, strides, offset) in elements. Constant parts of an index move into the offset, so kernels that differ only in the
slice they read are the same kernel:

    H[7, d] with H: f32[t:128, d:64]    =>    x0[d] with x0: f32[64] at H + 7*64

and ranks that are adjacent in every access are merged into one, so that a tile may run across them:

    Y[p, q, k] = ... X[p, q, c] ...     =>    Y[p, k] = ... X[p, c] ...      over p:P*Q
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import DType, i64
from tcomp.ir.expressions import (
    ZERO,
    Expr,
    Index,
    Load,
    Monomial,
    Ordinal,
    as_index,
    index_variables,
    map_load_indices,
    map_loads,
    walk,
)
from tcomp.ir.index import Bounds, interval
from tcomp.ir.text import print_index
from tcomp.ir.tile import span_bytes
from tcomp.passes.group import Group

Reindex = Callable[[str, tuple[Index, ...]], tuple[Index, ...]]


@dataclass(frozen=True, slots=True)
class Memory:
    """Where a tensor's elements lie relative to its start, in elements."""

    dtype: DType
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]
    offset: Index = ZERO

    @property
    def bytes(self) -> Index:
        """From the first element to the end of the last."""
        return span_bytes(self.dtype, self.shape, self.strides)


def print_memory(memory: Memory) -> str:
    """f32[2, 64] strides (80, 1), 576 bytes."""
    shape, strides = (", ".join(map(print_index, sizes)) for sizes in (memory.shape, memory.strides))
    return f"{memory.dtype}[{shape}] strides ({strides}), {print_index(memory.bytes)} bytes"


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor as one argument of a kernel."""

    tensor: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class Bound:
    """A group whose members read and store `operands` (argument name -> operand) instead of tensors."""

    group: Group
    operands: dict[str, Operand]
    slots: dict[str, tuple[Index, ...]] = field(default_factory=dict)
    """Where stored tensors are written, if their operands have other dimensions than their einsums."""


def bind_arguments(group: Group, memories: Mapping[str, Memory]) -> Bound:
    """Give each distinct view of each tensor an argument: inputs `x0, x1, ...` in order of first use, outputs named by operator."""
    own = set(group.names)
    operands: dict[str, Operand] = {}
    names: dict[Operand, str] = {}

    def argument(operand: Operand) -> str:
        if operand not in names:
            name = f"x{len(names)}"
            names[operand] = name
            operands[name] = operand
        return names[operand]

    def bind(load: Load, bounds: Bounds) -> Expr:
        load = map_load_indices(load, lambda inner: bind(inner, bounds))
        if load.tensor in own:
            return load
        memory = memories[load.tensor]
        if load.outside is None:
            memory, index = _lift_constants(memory, load.index, bounds)
        else:
            index = load.index
        return Load(argument(Operand(load.tensor, memory)), index, load.outside)

    members = []
    for einsum in group.members:
        read = partial(bind, bounds=einsum.bounds())
        members.append(
            replace(
                einsum,
                expression=map_loads(einsum.expression, read),
                where=None if einsum.where is None else map_loads(einsum.where, read),
                initial=None if einsum.initial is None else map_loads(einsum.initial, read),
                index=tuple(map_slot(i, read) for i in einsum.index),
            )
        )
    for name in group.stored:
        operands[name] = Operand(name, memories[name])
    return Bound(replace(group, members=tuple(members)), operands)


def map_slot(index: Index, read: Callable[[Load], Expr]) -> Index:
    """An index with every load in it replaced."""
    holder = map_loads(Ordinal(index, i64), read)
    assert isinstance(holder, Ordinal)
    return holder.index


def _lift_constants(memory: Memory, index: tuple[Index, ...], bounds: Bounds) -> tuple[Memory, tuple[Index, ...]]:
    """Move constant parts of an index into the view's offset; dimensions read at one place disappear.

    What remains must not be negative: the 5 of `5 - i` stays.
    """
    shape, strides, kept = [], [], []
    offset = memory.offset
    for i, extent, stride in zip(index, memory.shape, memory.strides):
        if i.is_constant:
            offset = offset + stride * i.constant
            continue
        lowest = interval(i - i.constant, bounds)[0]
        constant = i.constant if i.constant > 0 and extent.is_constant and lowest is not None and lowest >= 0 else 0
        offset = offset + stride * constant
        shape.append(extent - constant)
        strides.append(stride)
        kept.append(i - constant)
    return Memory(memory.dtype, tuple(shape), tuple(strides), offset), tuple(kept)


def merge_ranks(bound: Bound) -> Bound:
    """Merge neighbouring outer (or inner) ranks that every access walks as one; the same value if none can be merged."""
    merged = True
    while merged:
        merged = False
        for ranks in (bound.group.outer, bound.group.inner or _reduced(bound.group)):
            pair = next(((a, b) for a in ranks for b in ranks if a != b and _mergeable(bound, a, b)), None)
            if pair is not None:
                bound = _merge(bound, *pair)
                merged = True
                break
    return bound


def _reduced(group: Group) -> tuple[Rank, ...]:
    return group.root.reduced if group.kind == "contract" else ()


def _accesses(bound: Bound) -> list[tuple[str, tuple[Index, ...], bool]]:
    """(argument or member, index, has an outside value) of every load and store."""
    found = []
    for einsum in bound.group.members:
        for name, _ in einsum.targets:
            found.append((name, einsum.index, False))
        for part in (einsum.expression, einsum.where, einsum.initial):
            for node in walk(part) if part is not None else ():
                if isinstance(node, Load):
                    found.append((node.tensor, node.index, node.outside is not None))
    return found


def _mergeable(bound: Bound, a: Rank, b: Rank) -> bool:
    """Whether `a` then `b` are walked as one rank by every access."""
    for einsum in bound.group.members:
        for part in (einsum.expression, einsum.where, einsum.initial):
            for node in walk(part) if part is not None else ():
                if isinstance(node, Ordinal) and {a.name, b.name} & index_variables(node.index):
                    return False
        if len(einsum.targets) > 1 and {a.name, b.name} & {r.name for r in einsum.reduced}:
            return False
    for name, index, outside in _accesses(bound):
        used = {n for i in index for n in index_variables(i)} & {a.name, b.name}
        if not used:
            continue
        bare = [i.as_variable for i in index]
        if used != {a.name, b.name} or bare.count(a.name) != 1 or bare.count(b.name) != 1 or outside:
            return False
        if any(i.as_variable is None and index_variables(i) & used for i in index):
            return False
        operand = bound.operands.get(name)
        if operand is None:
            continue
        first, second = bare.index(a.name), bare.index(b.name)
        strides, shape = operand.memory.strides, operand.memory.shape
        if shape[second] != b.extent or strides[first] != strides[second] * b.extent:
            return False
    return True


def _merge(bound: Bound, a: Rank, b: Rank) -> Bound:
    """Replace `a` and `b` by one rank named `a`."""
    joined = Rank(a.name, a.extent * b.extent)
    operands = dict(bound.operands)
    changed: set[str] = set()

    def reindex(name: str, index: tuple[Index, ...]) -> tuple[Index, ...]:
        bare = [i.as_variable for i in index]
        if b.name not in bare:
            return index
        first, second = bare.index(a.name), bare.index(b.name)
        if name in operands and name not in changed:
            changed.add(name)
            memory = operands[name].memory
            shape = _joined(memory.shape, first, second, memory.shape[first] * memory.shape[second])
            strides = _joined(memory.strides, first, second, memory.strides[second])
            operands[name] = replace(operands[name], memory=replace(memory, shape=shape, strides=strides))
        return _joined(index, first, second, as_index(a.name))

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        return Load(load.tensor, reindex(load.tensor, load.index), load.outside)

    members = tuple(_merge_member(e, a, b, joined, reindex, read) for e in bound.group.members)

    def ranks(old: tuple[Rank, ...]) -> tuple[Rank, ...]:
        return tuple(joined if r == a else r for r in old if r != b)

    group = replace(bound.group, members=members, outer=ranks(bound.group.outer), inner=ranks(bound.group.inner))
    return Bound(group, operands)


def _joined(values: tuple[Index, ...], first: int, second: int, new: Index) -> tuple[Index, ...]:
    return tuple(new if p == first else v for p, v in enumerate(values) if p != second)


def _merge_member(einsum: Einsum, a: Rank, b: Rank, joined: Rank, reindex: Reindex, read: Callable[[Load], Expr]) -> Einsum:
    bare = [i.as_variable for i in einsum.index]
    index, shape = einsum.index, einsum.shape
    if b.name in bare:
        first, second = bare.index(a.name), bare.index(b.name)
        shape = _joined(shape, first, second, joined.extent)
        for name, _ in einsum.targets:
            index = reindex(name, einsum.index)
    return replace(
        einsum,
        index=index,
        shape=shape,
        reduced=tuple(joined if r == a else r for r in einsum.reduced if r != b),
        expression=map_loads(einsum.expression, read),
        where=None if einsum.where is None else map_loads(einsum.where, read),
        initial=None if einsum.initial is None else map_loads(einsum.initial, read),
    )


def stride_along(operand: Operand, index: tuple[Index, ...], variable: str) -> int | None:
    """Distance in elements between neighbours along a variable; 0 if it is not used, None if not constant."""
    total = 0
    for i, stride in zip(index, operand.memory.strides):
        if variable not in index_variables(i):
            continue
        coefficient = sum(c for m, c in i.terms if len(m) == 1 and getattr(m[0], "name", None) == variable)
        others = [m for m, _ in i.terms if variable in variables_of(m)]
        if len(others) != 1 or not coefficient or not stride.is_constant:
            return None
        total += coefficient * stride.constant
    return total


def variables_of(monomial: Monomial) -> set[str]:
    """Variables of a monomial."""
    return index_variables(Index(((monomial, 1),), 0))

