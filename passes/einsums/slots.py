"""Slots of equal value: how the indices that a scatter stores by may be simplified.

A bare rank in a slot is free and walks its dimension (`tcomp.ir.cascade`), so where the value of a slot turns out to be a rank, that
rank becomes free; what scattered by it alone becomes a map:

    I: i64[i:4] = i64[i]
    Y: f32[I[i]:9, J[i]:8] = last(i:4) G[i] from T[_0, _1]
    Z: f32[I[i]:9, d:8] = sum(i:4) X[i, d] from Y[_0, d]
      =>
    Y: f32[i:9, J[i]:8] = last() G[i] where i64[i] < 4 from T[i, _1]
    Z: f32[i:9, d:8] = select(i64[i] < 4, Y[i, d] + (X[i, d] else 0.0), Y[i, d])

A slot whose new value could not be written keeps the old one: a symbol, a rank that walks another dimension already, a rank along
which positions are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import compute_dtype, i64
from tcomp.ir.expressions import Apply, Cast, Expr, Index, Load, Ordinal, apply, constant, zero
from tcomp.ir.index import Bounds, interval, is_below, is_data, is_inside
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.traverse import map_einsum, move_slots
from tcomp.ir.walk import map_arguments, map_load_indices, map_loads, value_index


def replace_slots(einsum: Einsum, slots: tuple[Index, ...], cascade: Cascade, tensors: Mapping[str, Tensor]) -> Einsum:
    """Give an einsum slots of the same values; the same einsum if they are the same, or none can be written."""
    index = tuple(old if new.as_variable is not None else new for old, new in zip(einsum.index, slots))
    if index != einsum.index:
        einsum = replace(einsum, index=index)
    for place, slot in enumerate(slots):
        if slot.as_variable is not None and slot != einsum.index[place]:
            einsum = _free_slot(einsum, place, slot, cascade, tensors)
    return einsum


def _free_slot(einsum: Einsum, place: int, slot: Index, cascade: Cascade, tensors: Mapping[str, Tensor]) -> Einsum:
    """Make the rank free that a slot has turned out to be; the same einsum if it cannot be."""
    rank = next((r for r in einsum.reduced if r.name == slot.as_variable), None)
    if not einsum.is_scatter or rank is None or len(einsum.targets) > 1:
        return einsum
    index = (*einsum.index[:place], slot, *einsum.index[place + 1 :])
    kept = tuple(r for r in einsum.reduced if r != rank)
    freed = move_slots(replace(einsum, reduced=kept), index, einsum.shape, tuple(range(len(index))))
    bounds = freed.bounds(cascade.symbols)
    if not is_below(freed.shape[place] - 1, rank.extent, bounds):
        within = apply("lt", Ordinal(slot, i64), _size(rank.extent))
        freed = map_einsum(freed, lambda part: part if part is freed.initial else read_inside(part, within, tensors, bounds))
        freed = replace(freed, where=within if freed.where is None else apply("and", within, freed.where))
    if freed.is_scatter:
        return freed
    return _gathered(freed, bounds, tensors) or einsum


def _size(extent: Index) -> Expr:
    return constant(extent.constant, i64) if extent.is_constant else Ordinal(extent, i64)


def _gathered(einsum: Einsum, bounds: Bounds, tensors: Mapping[str, Tensor]) -> Einsum | None:
    """What a fold into free slots alone is as a map, or as a plain reduction; None if it is neither."""
    assert einsum.reduce is not None
    if einsum.reduced:
        return einsum if einsum.initial is None and einsum.reduce != "last" else None
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    element = expression_dtype(einsum.expression, dtypes)
    wide = einsum.dtype if einsum.reduce == "last" else compute_dtype(element)
    monoid = MONOIDS[einsum.reduce]
    start: Expr = constant(monoid.identity(element)[0].value, wide)
    if einsum.initial is not None:
        start = einsum.initial if expression_dtype(einsum.initial, dtypes) == wide else Cast(wide, einsum.initial)
    value = einsum.expression
    if einsum.where is not None:
        value = read_inside(value, einsum.where, tensors, bounds)
    value = value if element == wide else Cast(wide, value)
    if einsum.initial is not None and monoid.operator is not None:
        value = apply(monoid.operator, start, value)
    if einsum.where is not None:
        value = apply("select", einsum.where, value, start)
    stored = value if wide == einsum.dtype else Cast(einsum.dtype, value)
    return replace(einsum, expression=stored, reduce=None, where=None, initial=None)


def read_inside(expression: Expr, inside: Expr, tensors: Mapping[str, Tensor], bounds: Bounds) -> Expr:
    """An expression whose value only counts where a condition holds: elsewhere its loads may be outside, and give zero.

    So code that asks for the condition late reads nothing that is not there.
    """

    def guard(load: Load) -> Expr:
        load = map_load_indices(load, guard)
        if load.outside is not None:
            return load
        index = held_inside(load, tensors[load.tensor].shape, inside, bounds)
        return Load(load.tensor, index) if index else Load(load.tensor, load.index, zero(tensors[load.tensor].dtype))

    return map_loads(expression, guard)


def guard_branches(expression: Expr, tensors: Mapping[str, Tensor], bounds: Bounds) -> Expr:
    """An expression in which loads in the branches of selects give zero where they are outside, which is where they are not taken."""
    match expression:
        case Apply("select", (condition, *branches)):
            guarded = (map_loads(branch, lambda load: _guard(load, tensors, bounds)) for branch in branches)
            return Apply("select", (guard_branches(condition, tensors, bounds), *guarded))
        case _:
            return map_arguments(expression, lambda argument: guard_branches(argument, tensors, bounds))


def _guard(load: Load, tensors: Mapping[str, Tensor], bounds: Bounds) -> Expr:
    load = map_load_indices(load, lambda inner: _guard(inner, tensors, bounds))
    tensor = tensors[load.tensor]
    # Indices that are data are checked where they are read.
    is_known = load.outside is not None or any(map(is_data, load.index))
    if is_known or all(is_inside(i, extent, bounds) for i, extent in zip(load.index, tensor.shape)):
        return load
    return Load(load.tensor, load.index, zero(tensor.dtype))


def held_inside(load: Load, shape: tuple[Index, ...], inside: Expr, bounds: Bounds) -> tuple[Index, ...] | None:
    """The index of a load, with 0 for indices that are data where the view is not read; None without such, or if others may be outside.

    So indices among the data that are outside their tensor remain an error, and do not read as zero.
    """
    if not any(map(is_data, load.index)):
        return None
    held: list[Index] = []
    for i, extent in zip(load.index, shape):
        if is_data(i) and (interval(extent, bounds)[0] or 0) > 0:
            held.append(value_index(apply("select", inside, Ordinal(i, i64), constant(0, i64))))
        elif is_inside(i, extent, bounds):
            held.append(i)
        else:
            return None
    return tuple(held)
