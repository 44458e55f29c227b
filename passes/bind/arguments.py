"""Arguments of a kernel: how a group sees the memory of the tensors it touches.

A view is (shape, strides, offset) in elements. Constant parts of an index move into the offset, so kernels that differ only in the
slice they read are the same kernel:

    H[7, d] with H: f32[t:128, d:64]    =>    x0[d] with x0: f32[64] at H + 7*64

but not that of a pair, whose two parts are read from one vector of neighbours:

    H[d, 1] with H: f32[d:64, 2]        =>    x0[d, 1] with x0: f32[64, 2] at H
    H[2*d + 1] with H: f32[128]         =>    x0[d, 1] with x0: f32[64, 2] at H    if H[2*d] is read, too

and ranks that are adjacent in every access are merged into one, so that a tile may run across them:

    Y[p, q, k] = ... X[p, q, c] ...     =>    Y[p, k] = ... X[p, c] ...      over p:P*Q
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.expressions import ONE, ZERO, Expr, Index, Load, Monomial, Ordinal, as_index, print_index
from tcomp.ir.index import Bounds, interval, pair_of
from tcomp.ir.tile import span_bytes
from tcomp.ir.traverse import einsum_loads, map_einsum_loads, move_slots, parts
from tcomp.ir.walk import index_variables, map_load_indices, walk
from tcomp.passes.einsums.contraction import contraction_of, turn_lanes
from tcomp.passes.einsums.group import PARTS, Group, rewrite_group


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


def bind_group(group: Group, memories: Mapping[str, Memory]) -> Bound:
    """A group that is about to be scheduled: bound to its arguments, over as few ranks as they are walked by."""
    bound = merge_ranks(bind_arguments(group, memories))
    if group.kind != "contract":
        return bound
    # How long lanes are, and which lie last in their operand, is known only now.
    fact = turn_lanes(bound.group.root, contraction_of(bound.group).fact)
    return replace(bound, group=replace(bound.group, fact=fact))


def bind_arguments(group: Group, memories: Mapping[str, Memory]) -> Bound:
    """Give each distinct view of each tensor an argument: inputs `x0, x1, ...` in order of first use, outputs named by operator."""
    own = set(group.names)
    operands: dict[str, Operand] = {}
    names: dict[Operand, str] = {}
    pairs = _find_pairs(group)

    def argument(operand: Operand) -> str:
        if operand not in names:
            name = f"x{len(names)}"
            names[operand] = name
            operands[name] = operand
        return names[operand]

    def bind(load: Load, bounds: Bounds) -> Expr:
        half = pairs.get(load)
        load = map_load_indices(load, lambda inner: bind(inner, bounds))
        if load.tensor in own:
            return load
        memory = memories[load.tensor]
        if load.outside is None:
            memory, index = _lift_constants(*_see_pairs(memory, load.index, half), bounds)
        else:
            index = load.index
        return Load(argument(Operand(load.tensor, memory)), index, load.outside)

    new = rewrite_group(group, lambda e: map_einsum_loads(e, partial(bind, bounds=e.bounds())))
    for name in group.stored:
        operands[name] = Operand(name, memories[name])
    return Bound(new, operands)


def is_paired(memory: Memory) -> bool:
    """Whether the last dimension is a pair of neighbours, of which there are several."""
    return len(memory.shape) > 1 and memory.shape[-1] == PARTS and memory.strides[-1] == ONE


def _find_pairs(group: Group) -> dict[Load, Index]:
    """The pair that a load's last index is of, by the load, for loads of either of two neighbours that are both read."""
    found = dict.fromkeys(load for e in group.members for load in einsum_loads(e) if load.index and load.outside is None)
    halves: dict[Load, Index] = {}
    for load in found:
        *rest, last = load.index
        pair = pair_of(last)
        other = None if pair is None else replace(load, index=(*rest, pair[0] * 2 + (1 - pair[1])))
        if pair is not None and pair[0].terms and other in found:
            halves[load] = pair[0]
    return halves


def _see_pairs(memory: Memory, index: tuple[Index, ...], pair: Index | None) -> tuple[Memory, tuple[Index, ...]]:
    """Memory whose last dimension is of pairs of neighbours, if they are, and the index of a part of a `pair`."""
    count = pair_of(memory.shape[-1]) if pair is not None else None
    if pair is None or count is None or count[1] or memory.strides[-1] != ONE:
        return memory, index
    seen = replace(memory, shape=(*memory.shape[:-1], count[0], PARTS), strides=(*memory.strides[:-1], PARTS, ONE))
    return seen, (*index[:-1], pair, index[-1] - pair * 2)


def _lift_constants(memory: Memory, index: tuple[Index, ...], bounds: Bounds) -> tuple[Memory, tuple[Index, ...]]:
    """Move constant parts of an index into the view's offset; dimensions read at one place disappear.

    What remains must not be negative: the 5 of `5 - i` stays. So does the number of a part of a pair.
    """
    shape, strides, kept = [], [], []
    offset = memory.offset
    part = len(index) - 1 if is_paired(memory) and index[-1].is_constant and any(not i.is_constant for i in index) else None
    for dimension, (i, extent, stride) in enumerate(zip(index, memory.shape, memory.strides)):
        if dimension == part:
            shape.append(extent)
            strides.append(stride)
            kept.append(i)
            continue
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
                bound = _Merging(bound, *pair).merge()
                merged = True
                break
    return bound


def _reduced(group: Group) -> tuple[Rank, ...]:
    return group.root.reduced if group.kind == "contract" else ()


def _accesses(bound: Bound) -> Iterator[Load]:
    """Every load of the group, and every store as the load of what it stores."""
    for einsum in bound.group.members:
        for name, _ in einsum.targets:
            yield Load(name, einsum.index)
        yield from einsum_loads(einsum)


def _mergeable(bound: Bound, a: Rank, b: Rank) -> bool:
    """Whether `a` then `b` are walked as one rank by every access, and every access of a member of the group walks the same of it."""
    pair = {a.name, b.name}
    for einsum in bound.group.members:
        # The slots are looked at as accesses: that of a scatter, too, is no place to count points by.
        for part in parts(replace(einsum, index=())):
            for node in walk(part):
                if isinstance(node, Ordinal) and pair & index_variables(node.index):
                    return False
        if len(einsum.targets) > 1 and pair & {r.name for r in einsum.reduced}:
            return False
    own = set(bound.group.names)
    places: dict[str, tuple[int, int] | None] = {}
    for access in _accesses(bound):
        walked = _walked(access, a, b)
        if walked is None and any(pair & index_variables(i) for i in access.index):
            return False
        if access.tensor in own and places.setdefault(access.tensor, walked) != walked:
            return False
        operand = bound.operands.get(access.tensor)
        if walked is None or operand is None:
            continue
        first, second = walked
        strides, shape = operand.memory.strides, operand.memory.shape
        if shape[second] != b.extent or strides[first] != strides[second] * b.extent:
            return False
    return True


def _walked(access: Load, a: Rank, b: Rank) -> tuple[int, int] | None:
    """The dimensions along which an access walks `a` and `b`; None unless it does so plainly, each once and nowhere else."""
    bare = [i.as_variable for i in access.index]
    if access.outside is not None or bare.count(a.name) != 1 or bare.count(b.name) != 1:
        return None
    if any(i.as_variable is None and {a.name, b.name} & index_variables(i) for i in access.index):
        return None
    return bare.index(a.name), bare.index(b.name)


class _Merging:
    """A group in which `a` and `b` become one rank named `a`."""

    def __init__(self, bound: Bound, a: Rank, b: Rank) -> None:
        self.bound = bound
        self.a = a
        self.b = b
        self.joined = Rank(a.name, a.extent * b.extent)
        self.operands: dict[str, Operand] = {}
        self.kept = {access.tensor for access in _accesses(bound) if _walked(access, a, b) is None}

    def merge(self) -> Bound:
        """The group over the joined rank; views that are walked along it have one dimension less."""
        group = self.bound.group
        # Arguments keep their order; those of views that are read in both ways come last.
        self.operands = dict(self.bound.operands)
        new = rewrite_group(group, self._merge_member, self._ranks, {self.b.name: self.a.name})
        seen = {access.tensor for access in _accesses(Bound(new, self.operands))}
        return Bound(new, {name: operand for name, operand in self.operands.items() if name in seen})

    def _ranks(self, ranks: tuple[Rank, ...]) -> tuple[Rank, ...]:
        return tuple(self.joined if r == self.a else r for r in ranks if r != self.b)

    def _merge_member(self, einsum: Einsum) -> Einsum:
        new = replace(map_einsum_loads(einsum, self._read), reduced=self._ranks(einsum.reduced))
        walked = _walked(Load(einsum.name, einsum.index), self.a, self.b)
        if walked is None:
            return new
        for name, _ in einsum.targets:
            self._view(name, walked)
        index = _joined(new.index, walked, as_index(self.a.name))
        shape = _joined(new.shape, walked, self.joined.extent)
        return move_slots(new, index, shape, tuple(p for p in range(len(new.index)) if p != walked[1]))

    def _read(self, load: Load) -> Expr:
        load = map_load_indices(load, self._read)
        walked = _walked(load, self.a, self.b)
        if walked is None:
            return load
        return Load(self._view(load.tensor, walked), _joined(load.index, walked, as_index(self.a.name)))

    def _view(self, name: str, walked: tuple[int, int]) -> str:
        """The argument seen along the joined rank; a name of its own where the argument is read in other ways too."""
        operand = self.bound.operands.get(name)
        if operand is None:
            return name
        memory = operand.memory
        first, second = walked
        shape = _joined(memory.shape, walked, memory.shape[first] * memory.shape[second])
        view = replace(operand, memory=replace(memory, shape=shape, strides=_joined(memory.strides, walked, memory.strides[second])))
        own = self.bound.group.names
        known = next((other for other, seen in self.operands.items() if seen == view and other not in own), None)
        if known is None or name in own:
            is_free = name not in self.kept and self.operands[name] in (operand, view)
            known = name if is_free else next(n for k in count(2) if (n := f"{name}_{k}") not in self.operands)
            self.operands[known] = view
        return known


def _joined(values: tuple[Index, ...], walked: tuple[int, int], new: Index) -> tuple[Index, ...]:
    first, second = walked
    return tuple(new if p == first else v for p, v in enumerate(values) if p != second)


def step_along(operand: Operand, index: tuple[Index, ...], variable: str) -> int | None:
    """Vectors from one neighbour along a variable to the next: `stride_along`, but 1 for one of all pairs, which are read together."""
    step = stride_along(operand, index, variable)
    return 1 if step == 2 and is_paired(operand.memory) and variable not in index_variables(index[-1]) else step


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


def element_dtype(einsum: Einsum, bound: Bound) -> DType:
    """The type in which a reduction's elements are added up: that of its expression, wide."""
    dtypes = {name: operand.memory.dtype for name, operand in bound.operands.items()}
    dtypes.update((name, dtype) for e in bound.group.members for name, dtype in e.targets)
    return compute_dtype(expression_dtype(einsum.expression, dtypes))
