"""Prepare the operands of contractions: pad what is read outside its bounds, pack what the lanes would read with a stride.

    Y: f32[n:1, k:64, p:56, q:56] = sum(c:32, r:3, s:3) (X[n, c, p + r - 1, q + s - 1] else 0.0) * W[k, c, r, s]
      =>
    X.pad: f32[d0:1, d2:58, d3:58, d1:32] = (X[d0, d1, d2 - 1, d3 - 1] else 0.0)
    W.pack: f32[k.1:2, r:3, s:3, c:32, k.0:32] = W[k.0 + 32*k.1, c, r, s]
    Y: f32[n:1, k:64, p:56, q:56] = sum(r:3, s:3, c:32) X.pad[n, p + r, q + s, c] * W.pack[k // 32, r, s, c, k % 32]

What is packed from weights alone is computed once (`tcomp.passes.cascade.fold`), the whole of a weight of which data choose parts
(`W[E[m], n, k]`). A map of inputs that nothing else reads is computed as
it is packed:

    B: f32[n:64, k:256] = X[n, k] / norm[n]
    Y: f32[m:16, n:64] = sum(k:256) A[m, k] * B[n, k]
      becomes
    B.pack: f32[n.1:2, k:256, n.0:32] = X[n.0 + 32*n.1, k] / norm[n.0 + 32*n.1]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement, Tensor
from tcomp.ir.dtypes import DType
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Apply, Cast, Expr, Index, Load, as_index
from tcomp.ir.index import Bounds, interval, is_data, is_inside, simplify_index
from tcomp.ir.names import fresh
from tcomp.ir.schedule import Packing
from tcomp.ir.walk import index_variables, loads, map_load_indices, map_loads, substitute_index
from tcomp.passes.cascade.inline import read_through
from tcomp.passes.cascade.rules.rule import Context
from tcomp.passes.cascade.simplify import Simplifier, rules_by_root
from tcomp.passes.einsums.contraction import Contraction, contraction_along, is_contraction, lane_position, load_variables, operand_load
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.rebuild import count_readers

WIDEST_PANEL = 1 << 12
"""Elements: what a panel has beyond its rank is memory without a use."""

Packings: TypeAlias = Callable[[Einsum, Mapping[str, bool]], Packing | None]
"""Which rank of a contraction gives the lanes of its packed operand, and how wide the panels are; which tensors are weights is known."""


@dataclass
class _Prepared:
    """Einsums made while preparing, shared by equal requests."""

    statements: list[Statement]
    made: dict[tuple[object, ...], str]
    names: set[str]
    maps: Mapping[str, Einsum]
    """Maps that are computed where they are packed."""


def prepare_operands(cascade: Cascade, choose: Packings) -> tuple[Cascade, frozenset[str], tuple[Packing, ...]]:
    """Pad the operands of all contractions, and pack those that are chosen.

    Returns the cascade, the same one if no operand needs it, the padded and packed tensors, which must lie in memory in the order of
    their dimensions, and what was packed. Raises Illegal for an operand that cannot be packed.
    """
    static = static_tensors(cascade)
    tensors = cascade.tensors()
    prepared = _Prepared([], {}, set(tensors), _find_maps(cascade, tensors))
    packings: list[Packing] = []
    for statement in cascade.statements:
        if isinstance(statement, Iteration):
            prepared.statements.append(statement)
            continue
        einsum = _pad_loads(statement, cascade, tensors, prepared)
        packing = choose(einsum, static)
        if packing is not None:
            einsum = _pack(einsum, packing, static, tensors, cascade, prepared)
            packings.append(packing)
        elif not is_contraction(einsum):
            einsum = _turn_static(einsum, static, tensors, prepared)
        prepared.statements.append(einsum)
    return cascade.with_statements(tuple(prepared.statements)), frozenset(prepared.made.values()), tuple(packings)


def _find_maps(cascade: Cascade, tensors: Mapping[str, Tensor]) -> dict[str, Einsum]:
    """Maps that one statement reads and that read nothing as large as themselves but inputs, of which no kernel has a tile at hand."""
    inputs = {t.name for t in cascade.inputs}
    counts = count_readers(cascade)
    found: dict[str, Einsum] = {}
    for statement in cascade.statements:
        if not isinstance(statement, Einsum) or not statement.is_map or statement.name in cascade.outputs:
            continue
        others = [n for n in statement.reads() if n not in inputs and len(tensors[n].shape) >= len(statement.shape)]
        if not others and statement.reads() and counts.get(statement.name) == 1:
            found[statement.name] = statement
    return found


def _pad_loads(einsum: Einsum, cascade: Cascade, tensors: Mapping[str, Tensor], prepared: _Prepared) -> Einsum:
    """Give every load of a sum whose window leaves its tensor a padded copy to read from."""
    if einsum.reduce != "sum" or einsum.is_scatter:
        return einsum
    bounds = einsum.bounds(cascade.symbols)
    reduced = {r.name for r in einsum.reduced}

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        if load.outside is None or load.tensor not in tensors or not _is_window(load, reduced):
            return load
        others = {name for other in loads(einsum.expression) if other.tensor != load.tensor for name in load_variables(other)}
        return _padded(load, tensors[load.tensor], others, bounds, prepared, einsum)

    expression = map_loads(einsum.expression, read)
    return einsum if expression == einsum.expression else replace(einsum, expression=expression)


def _is_window(load: Load, reduced: set[str]) -> bool:
    """Whether some index slides with a reduced rank, so that elements are read several times."""
    return any(index_variables(i) & reduced and i.as_variable is None for i in load.index)


def _padded(
    load: Load, tensor: Tensor, others: set[str], bounds: Bounds, prepared: _Prepared, einsum: Einsum
) -> Load:
    """Read from a padded copy; the dimensions walked together with another operand (channels) lie innermost in it."""
    shape = tensor.shape
    margins: list[tuple[int, int]] = []
    for i, extent in zip(load.index, shape):
        low, high = interval(i, bounds)
        if is_inside(i, extent, bounds):
            margins.append((0, 0))
        elif low is None or high is None or not extent.is_constant:
            return load
        else:
            margins.append((max(0, -low), max(0, high - extent.constant + 1)))
    order = sorted(range(len(shape)), key=lambda d: (load.index[d].as_variable in others, d))
    key = ("pad", load.tensor, repr(load.outside), tuple(margins), tuple(order))
    name = prepared.made.get(key)
    if name is None:
        name = prepared.made[key] = fresh(f"{load.tensor}.pad", prepared.names)
        ranks = [f"d{d}" for d in range(len(shape))]
        inner = Load(load.tensor, tuple(as_index(r) - low for r, (low, _) in zip(ranks, margins)), load.outside)
        extents = [extent + (low + high) for extent, (low, high) in zip(shape, margins)]
        prepared.statements.append(
            Einsum(
                ((name, tensor.dtype),),
                tuple(as_index(ranks[d]) for d in order),
                tuple(extents[d] for d in order),
                inner,
                source=einsum.source,
            )
        )
    return Load(name, tuple(load.index[d] + margins[d][0] for d in order))


def _pack(
    einsum: Einsum, packing: Packing, static: Mapping[str, bool], tensors: Mapping[str, Tensor], cascade: Cascade, prepared: _Prepared
) -> Einsum:
    """Store the right operand as panels of lanes: [lane panel, ..., lane within the panel]."""
    contraction = contraction_along(einsum, packing.rank)
    if contraction is None or not may_pack(contraction):
        raise Illegal(
            f"{einsum.name} has no operand that can be packed along {packing.rank}",
            where=str(packing),
            help="pack an operand of a contraction along a free rank that it alone has",
            clause=("pack", einsum.name),
        )
    right, lanes, width = contraction.right, contraction.lanes, packing.width
    if width > WIDEST_PANEL:
        raise Illegal(
            f"panels of {width} elements are wider than any tile",
            where=str(packing),
            help=f"take {WIDEST_PANEL} at most",
            clause=("pack", einsum.name),
        )
    dtype = tensors[right.tensor].dtype if right.tensor in tensors else einsum.dtype
    is_static = static.get(right.tensor, False)
    position = lane_position(right, lanes.name)
    assert position is not None
    # What data choose of a weight (an expert) is a dimension of its own, packed as a whole.
    chosen = {p: Rank(f"{lanes.name}.d{p}", tensors[right.tensor].shape[p]) for p, i in enumerate(right.index) if is_data(i)}
    walked = {p: as_index(chosen[p].name) if p in chosen else i for p, i in enumerate(right.index)}
    names = {name for p, i in walked.items() for name in index_variables(i)}
    window = [*chosen.values(), *(r for r in einsum.ranks if r.name in names and r.name != lanes.name)]
    outer, inner = f"{lanes.name}.1", f"{lanes.name}.0"
    panels = simplify_index((lanes.extent + (width - 1)) // width, Bounds())
    free = [r for r in window if r not in einsum.reduced]
    reduced = _reduced_order([r for r in window if r in einsum.reduced], contraction.left)
    index = substitute_index(right.index[position], {lanes.name: as_index(outer) * width + as_index(inner)})
    divides = (lanes.extent % width).is_constant and (lanes.extent % width).constant == 0
    source = Load(
        right.tensor,
        tuple(index if p == position else i for p, i in walked.items()),
        None if divides else 0 if not dtype.is_float else 0.0,
    )
    ranks = (*free, Rank(outer, panels), *reduced, Rank(inner, as_index(width)))
    body, stored = _converted(einsum.expression, right, source, dtype, is_static)
    made = None if is_static else prepared.maps.get(right.tensor)
    if made is not None:
        body = _compute(made, source, ranks, cascade)
    key = ("pack", body, tuple((r.name, r.extent) for r in ranks))
    name = prepared.made.get(key)
    if name is None:
        name = prepared.made[key] = fresh(f"{right.tensor}.pack", prepared.names)
        prepared.statements.append(
            Einsum(
                ((name, stored),),
                tuple(as_index(r.name) for r in ranks),
                tuple(r.extent for r in ranks),
                body,
                source=einsum.source,
            )
        )
    lane = as_index(lanes.name)
    position_of = {outer: lane // width, inner: lane % width, **{rank.name: right.index[p] for p, rank in chosen.items()}}
    packed = Load(name, tuple(position_of.get(r.name, as_index(r.name)) for r in ranks))
    expression = _replace_operand(einsum.expression, right, packed, drop_casts=stored != dtype)
    order = {r.name: p for p, r in enumerate(reduced)}
    reordered = tuple(sorted(einsum.reduced, key=lambda r: order.get(r.name, -1)))
    return replace(einsum, expression=expression, reduced=reordered)


def may_pack(contraction: Contraction) -> bool:
    """Whether the right operand of a contraction can be copied into panels; one that repeats along the lanes is a panel as it is."""
    right = contraction.right
    walked = [i for i in right.index if not is_data(i)]
    is_plain = all(i.as_variable is not None for i in walked) or _is_affine(walked)
    return is_plain and lane_position(right, contraction.lanes.name) is not None


def _compute(made: Einsum, load: Load, ranks: tuple[Rank, ...], cascade: Cascade) -> Expr:
    """What a load of a map reads, in terms of what the map reads."""
    tensors = cascade.tensors()
    bounds = Bounds({r.name: r.extent for r in ranks}, {s.name: (s.low, s.high) for s in cascade.symbols})
    context = Context({n: t.dtype for n, t in tensors.items()}, {n: t.shape for n, t in tensors.items()}, bounds)
    return Simplifier(rules_by_root(strict=True), context).simplify(read_through(made, load, tensors, bounds))


def _turn_static(einsum: Einsum, static: Mapping[str, bool], tensors: Mapping[str, Tensor], prepared: _Prepared) -> Einsum:
    """Store a weight that shares every free rank it has with the other operand (a depthwise filter) with those ranks innermost."""
    product = einsum.expression
    if einsum.reduce != "sum" or einsum.is_scatter or not isinstance(product, Apply) or product.operator != "mul":
        return einsum
    operands = [operand_load(a) for a in product.arguments]
    free = {r.name for r in einsum.free}
    for load, other in zip(operands, reversed(operands)):
        if load is None or other is None or not static.get(load.tensor, False) or load.tensor not in tensors or load.outside is not None:
            continue
        shared = [i.as_variable in free and i.as_variable in load_variables(other) for i in load.index]
        order = sorted(range(len(shared)), key=lambda d: (shared[d], d))
        if not any(shared) or order == list(range(len(order))) or any(i.as_variable is None for i in load.index):
            continue
        key = ("turn", load.tensor, tuple(order))
        tensor = tensors[load.tensor]
        name = prepared.made.get(key)
        if name is None:
            name = prepared.made[key] = fresh(f"{load.tensor}.turn", prepared.names)
            ranks = tuple(as_index(f"d{d}") for d in range(len(order)))
            index, shape = tuple(ranks[d] for d in order), tuple(tensor.shape[d] for d in order)
            prepared.statements.append(
                Einsum(((name, tensor.dtype),), index, shape, Load(load.tensor, ranks), source=einsum.source)
            )
        turned = Load(name, tuple(load.index[d] for d in order))
        return replace(einsum, expression=_exchange(product, load, turned))
    return einsum


def _exchange(expression: Expr, old: Load, new: Load) -> Expr:
    return map_loads(expression, lambda load: new if load == old else load)


def _is_affine(indices: Sequence[Index]) -> bool:
    """Whether each index is a sum of variables times integers."""
    return all(len(m) == 1 and not hasattr(m[0], "numerator") and hasattr(m[0], "name") for i in indices for m, _ in i.terms)


def _reduced_order(reduced: list[Rank], left: Load) -> list[Rank]:
    """Loop order of the reduced ranks: the one that walks the left operand's last dimension is innermost."""

    def depth(rank: Rank) -> int:
        return max((d for d, i in enumerate(left.index) if rank.name in index_variables(i)), default=-1)

    return sorted(reduced, key=depth)


def _converted(expression: Expr, right: Load, source: Load, dtype: DType, is_static: bool) -> tuple[Expr, DType]:
    """What to store in the pack: for weights, the operand after its conversions, so that they happen once."""
    if not is_static:
        return source, dtype
    operand = _operand_of(expression, right)
    stored = dtype
    body: Expr = source
    casts: list[DType] = []
    while isinstance(operand, Cast):
        casts.append(operand.dtype)
        operand = operand.argument
    for cast in reversed(casts):
        body, stored = Cast(cast, body), cast
    return body, stored


def _operand_of(expression: Expr, right: Load) -> Expr:
    assert isinstance(expression, Apply)
    for argument in expression.arguments:
        inner = argument
        while isinstance(inner, Cast):
            inner = inner.argument
        if inner is right:
            return argument
    return right


def _replace_operand(expression: Expr, right: Load, packed: Load, drop_casts: bool) -> Expr:
    assert isinstance(expression, Apply)
    operand = _operand_of(expression, right)

    def replaced(argument: Expr) -> Expr:
        if argument is not operand:
            return argument
        return packed if drop_casts else _exchange(argument, right, packed)

    return Apply(expression.operator, tuple(replaced(a) for a in expression.arguments))
