"""Split long reductions with few results into parts that are computed at once, and fold the parts (split-K, for any commutative monoid).

    Y: bf16[m:64, n:64] = sum(k:4096) f32(X[m, k]) * f32(W[k, n])
      =>
    Y.part: f32[part:8, m:64, n:64] = sum(k:512) f32(X[m, 512*part + k]) * f32(W[512*part + k, n])
    Y: bf16[m:64, n:64] = sum(part:8) Y.part[part, m, n]

    Y: f32[Ids[i]:100] = sum(i:8192) V[i] from B[_0]
      =>
    Y.part: f32[part:32, Ids[256*part + i]:100] = sum(i:256) V[256*part + i]
    Y.sum: f32[_0:100] = sum(part:32) Y.part[part, _0]
    Y: f32[_0:100] = B[_0] + Y.sum[_0]

For a GPU, where a kernel of few instances leaves most of the machine idle. The parts and the order in which they are folded depend on
sizes alone, so results are the same in every run.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tcomp.ir.cascade import Cascade, Einsum, Rank
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.expressions import Expr, Index, Load, apply, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.names import fresh
from tcomp.ir.target import Gpu
from tcomp.ir.traverse import map_values
from tcomp.ir.walk import index_variables, loads, map_load_indices, map_loads, substitute, substitute_index
from tcomp.passes.cost.gpu import Problem, choose_tiles, cycles
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.contraction import find_contraction, operand_load
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.scatter import is_concurrent

PARTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)

SHORTEST_PART = 256
"""Products of a part: shorter ones cost more in starting and folding than they save."""

FOLD_CYCLES = 3000.0
"""Cycles of the kernel that folds the parts: its launch, and a wait for memory."""

FOLD_BYTES = 20.0
"""Bytes a multiprocessor writes and reads again in a cycle."""

LONG_ROW = 1 << 12
"""Elements of a part of a row: fewer are folded fast enough by one instance."""

LONG_COLUMN = 128
"""The same where an instance folds columns side by side."""

LANES = 128
"""Columns of such an instance."""

MOST_SCATTERED = 1 << 24
"""Elements of all partial targets of a scatter."""

FEW_POINTS = 2048
"""Points of a scatter that one instance folds one after another soon enough."""


def split_groups(groups: tuple[Group, ...], cascade: Cascade, target: Gpu, *, is_atomic: bool = False) -> tuple[Group, ...]:
    """Split the reductions of groups where that pays; the same groups if there is none."""
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    taken = set(dtypes)
    kept: list[Group] = []
    for group in groups:
        found = _find_split(group, dtypes, target, is_atomic)
        kept += [group] if found is None else _split(group, *found, taken)
    return groups if len(kept) == len(groups) else tuple(kept)


def _find_split(group: Group, dtypes: dict[str, DType], target: Gpu, is_atomic: bool) -> tuple[Einsum, Rank, int] | None:
    """The reduction of a group, which of its ranks to split and into how many parts; None if it stays whole."""
    einsum = _only_reduction(group)
    if einsum is None or einsum.reduce is None or MONOIDS[einsum.reduce].arity > 1 or einsum.reduce == "last":
        return None
    # A scatter whose slots have all its ranks reduces none.
    if not einsum.reduced or not all(e.is_constant for e in (*einsum.shape, *(r.extent for r in einsum.reduced))):
        return None
    rank = max(einsum.reduced, key=lambda r: r.extent.constant)
    counts = [count for count in PARTS if rank.extent.constant % count == 0]
    match group.kind:
        case "contract":
            count = _count_contraction(einsum, counts, dtypes, target)
        case "scatter":
            count = _count_scatter(einsum, counts, target, is_atomic)
        case _:
            count = _count_reduction(einsum, counts, target)
    return None if count is None else (einsum, rank, count)


def _only_reduction(group: Group) -> Einsum | None:
    """The reduction of a group that is one reduction with maps before and after it; what comes before is made part of it."""
    if group.kind not in ("contract", "nest", "scatter"):
        return None
    reductions = [e for e in group.members if e.reduce is not None]
    if len(reductions) != 1 or len(reductions[0].targets) > 1:
        return None
    (root,) = reductions
    inner = {r.name for r in root.reduced}
    before = {e.name: e for e in group.members if e is not root and inner & {r.name for r in e.free}}
    if group.kind == "contract" and before:
        return None
    last = [e.name for e in group.members].index(root.name)
    if any(name in group.stored or [e.name for e in group.members].index(name) > last for name in before):
        return None

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        made = before.get(load.tensor)
        return load if made is None else map_loads(made.expression, read)

    return map_values(root, lambda part: map_loads(part, read))


def _split(group: Group, einsum: Einsum, rank: Rank, count: int, taken: set[str]) -> list[Group]:
    """The group of the parts, and the group that folds them and does what the group did with the whole."""
    parts, *folds = _make_parts(einsum, rank, count, taken)
    part = Rank(str(parts.index[0].as_variable), as_index(count))
    first = Group(group.kind, (parts,), (part, *group.outer), parts.reduced if group.kind == "nest" else (), stored=(parts.name,))
    inner = {r.name for r in einsum.reduced}
    position = next(k for k, e in enumerate(group.members) if e.name == einsum.name)
    rest = [e for e in group.members[position + 1 :] if not inner & {r.name for r in e.free}]
    early = [e for e in group.members[:position] if not inner & {r.name for r in e.free}]
    outer = folds[0].free if group.kind == "scatter" else group.outer
    second = Group("nest", (*early, *folds, *rest), outer, (part,), stored=group.stored)
    return [first, second]


def _count_contraction(einsum: Einsum, counts: list[int], dtypes: dict[str, DType], target: Gpu) -> int | None:
    contraction = find_contraction(einsum, {})
    assert contraction is not None
    operands = [operand_load(a) for a in getattr(einsum.expression, "arguments", ())]
    operand = max((dtypes[load.tensor] for load in operands if load is not None), key=lambda t: t.bits)
    shared = {r.name for r in contraction.shared}
    rows = prod(typical(r.extent) for r in contraction.rows)
    batch = prod(typical(r.extent) for r in contraction.shared)
    lanes = prod(typical(r.extent) for r in einsum.free if r not in contraction.rows and r.name not in shared)
    depth = prod(typical(r.extent) for r in einsum.reduced)

    def cost(count: int) -> float:
        problem = Problem(max(rows, 1), lanes, -(-depth // count), batch * count, 1, operand)
        time = cycles(choose_tiles(problem, target)[0], problem, target)
        if count == 1:
            return time
        moved = 2 * 4 * count * rows * lanes * batch
        return time + FOLD_CYCLES + moved / (FOLD_BYTES * target.multiprocessors)

    best = min([1, *(count for count in counts if depth // count >= SHORTEST_PART)], key=lambda count: (cost(count), count))
    return best if best > 1 else None


def _count_reduction(einsum: Einsum, counts: list[int], target: Gpu) -> int | None:
    """Parts of a plain reduction: as many as leave each long, where instances are fewer than multiprocessors."""
    results = prod(typical(r.extent) for r in einsum.free)
    length = prod(typical(r.extent) for r in einsum.reduced)
    # An instance folds a whole row, or columns side by side.
    is_row = walks_rows(einsum)
    instances, shortest = (results, LONG_ROW) if is_row else (-(-results // LANES), LONG_COLUMN)
    wanted = [count for count in counts if instances * count <= 8 * target.multiprocessors and length // count >= shortest]
    return max(wanted) if wanted and instances < target.multiprocessors and length >= 4 * shortest else None


def walks_rows(einsum: Einsum) -> bool:
    """Whether the last dimension of what a reduction reads most of is reduced, or all of it is."""
    reduced = {r.name for r in einsum.reduced}
    found = [load for load in loads(einsum.expression) if load.index]
    longest = max(found, key=lambda load: len(load.index), default=None)
    return longest is None or not einsum.free or bool(index_variables(longest.index[-1]) & reduced)


def _count_scatter(einsum: Einsum, counts: list[int], target: Gpu, is_atomic: bool) -> int | None:
    """Parts of a scatter whose points must be folded in order: each gets a target of its own."""
    if einsum.reduce == "last" or is_concurrent(einsum, is_atomic=is_atomic):
        return None
    side_by_side = prod(typical(r.extent) for r in einsum.free)
    points = prod(typical(r.extent) for r in einsum.reduced)
    size = prod(typical(e) for e in einsum.shape)
    wanted = [count for count in counts if count * size <= MOST_SCATTERED]
    return max(wanted) if wanted and points >= FEW_POINTS and side_by_side < 32 * target.multiprocessors else None


def _make_parts(einsum: Einsum, rank: Rank, count: int, taken: set[str]) -> list[Einsum]:
    """The einsum of the parts, and what folds them."""
    part = fresh("part", {r.name for r in einsum.ranks})
    length = rank.extent // count
    place = {rank.name: as_index(part) * length + as_index(rank.name)}
    name = fresh(f"{einsum.name}.part", taken)
    wide = compute_dtype(einsum.dtype)
    reduced = tuple(Rank(r.name, length) if r == rank else r for r in einsum.reduced)
    parts = replace(
        map_values(einsum, lambda value: substitute(value, place)),
        targets=((name, wide),),
        index=(as_index(part), *(substitute_index(i, place) for i in einsum.index)),
        shape=(as_index(count), *einsum.shape),
        reduced=reduced,
        initial=None,
    )
    free: tuple[Index, ...] = tuple(as_index(rank.name) for rank in einsum.slot_ranks)
    if einsum.initial is None:
        return [parts, _fold(einsum, einsum.name, Load(name, (as_index(part), *free)), Rank(part, as_index(count)))]
    total = fresh(f"{einsum.name}.{einsum.reduce}", taken)
    fold = _fold(einsum, total, Load(name, (as_index(part), *free)), Rank(part, as_index(count)))
    return [parts, fold, replace(fold, targets=einsum.targets, expression=_join(einsum, Load(total, free)), reduce=None, reduced=())]


def _fold(einsum: Einsum, name: str, parts: Load, part: Rank) -> Einsum:
    """What folds the parts into a tensor of the given name."""
    return Einsum(((name, einsum.dtype),), parts.index[1:], einsum.shape, parts, einsum.reduce, (part,), source=einsum.source)


def _join(einsum: Einsum, total: Expr) -> Expr:
    assert einsum.reduce is not None and einsum.initial is not None
    operator = MONOIDS[einsum.reduce].operator
    assert operator is not None
    return apply(operator, einsum.initial, total)
