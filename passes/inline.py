"""Inline views: a map that only renames positions is read through, never computed.

    V: f32[i:4, j:8] = X[j, i]
    Z: f32[a:4, b:8] = exp(V[a, b])
      =>
    Z: f32[a:4, b:8] = exp(X[b, a])

Constants and values computed from rank variables alone are inlined too, and so are small integer maps that are only used as
indices of gathers and scatters. Outputs of the program are never inlined away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.dtypes import boolean, i64
from tcomp.ir.expressions import (
    Apply,
    Cast,
    Constant,
    Expr,
    Index,
    Load,
    Ordinal,
    apply,
    constant,
    index_variables,
    map_load_indices,
    map_loads,
    substitute,
    value_index,
    walk,
    zero,
)
from tcomp.ir.index import Bounds, interval, is_data, is_inside, simplify_index, simplify_indices
from tcomp.passes.lowering import cost
from tcomp.passes.rebuild import map_einsums, map_expressions

LARGEST_INDEX_MAP = 8
"""Nodes of an integer map that is still inlined into an index."""

MOST_COST = 32
"""Arithmetic, in instructions, of a value of positions that is still computed wherever it is read: a power is not."""


def inline_views(cascade: Cascade) -> Cascade:
    """Replace reads of views by reads of what they view; the same cascade if there is none."""
    views: dict[str, Einsum] = {}
    only_indices = _tensors_only_in_indices(cascade)
    tensors = cascade.tensors()

    def change(einsum: Einsum) -> Einsum:
        bounds = einsum.bounds(cascade.symbols)
        new = map_expressions(einsum, inline, bounds) if any(n in views for n in einsum.reads()) else einsum
        new = _inline_slots(new, views, tensors, bounds)
        if new.is_map and (is_view(new.expression) or (new.name in only_indices and _is_small(new.expression))):
            views[new.name] = new
        return new

    def inline(expression: Expr, bounds: Bounds) -> Expr:
        def read(load: Load) -> Expr:
            load = map_load_indices(load, read)
            view = views.get(load.tensor)
            return load if view is None else read_through(view, load, tensors, bounds)

        new = map_loads(expression, read)
        return expression if new == expression else simplify_indices(new, bounds)

    return map_einsums(cascade, change)


def is_view(expression: Expr) -> bool:
    """Whether an expression is one load, or depends on rank variables alone and is cheap."""
    if isinstance(expression, Load):
        return True
    nodes = list(walk(expression))
    return len(nodes) <= LARGEST_INDEX_MAP and cost(expression) <= MOST_COST and not any(isinstance(e, Load) for e in nodes)


def _is_small(expression: Expr) -> bool:
    return sum(1 for _ in walk(expression)) <= LARGEST_INDEX_MAP


def _tensors_only_in_indices(cascade: Cascade) -> set[str]:
    """Integer tensors that are read inside indices and nowhere else."""
    inside: dict[str, None] = {}
    outside: set[str] = set(cascade.outputs)
    for einsum in cascade.einsums():
        for slot in einsum.index:
            inside.update(dict.fromkeys(_index_reads(slot)))
        for part in (einsum.expression, einsum.where, einsum.initial):
            for node in walk(part) if part is not None else ():
                if isinstance(node, Load):
                    for i in node.index:
                        inside.update(dict.fromkeys(_index_reads(i)))
            if part is not None:
                outside.update(_direct_reads(part))
    return set(inside) - outside


def _index_reads(index: Index) -> list[str]:
    return [e.tensor for e in walk(Ordinal(index, i64)) if isinstance(e, Load)]


def _direct_reads(expression: Expr) -> list[str]:
    match expression:
        case Load(tensor, _):
            return [tensor]
        case Apply(_, arguments):
            return [name for a in arguments for name in _direct_reads(a)]
        case Cast(_, argument):
            return _direct_reads(argument)
        case Constant() | Ordinal():
            return []


def _inline_slots(
    einsum: Einsum, views: dict[str, Einsum], tensors: Mapping[str, Tensor], bounds: Bounds
) -> Einsum:
    if not any(name in views for slot in einsum.index for name in _index_reads(slot)):
        return einsum

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        view = views.get(load.tensor)
        return load if view is None else read_through(view, load, tensors, bounds)

    slots = []
    for slot in einsum.index:
        holder = map_loads(Ordinal(slot, i64), read)
        assert isinstance(holder, Ordinal)
        slots.append(simplify_index(holder.index, bounds))
    return replace(einsum, index=tuple(slots))


def read_through(view: Einsum, load: Load, tensors: Mapping[str, Tensor], bounds: Bounds) -> Expr:
    """The view's expression at the position a load reads; a read outside the view keeps its stated value."""
    mapping = {rank.name: i for rank, i in zip(view.free, load.index)}
    body = substitute(view.expression, mapping)
    if load.outside is None:
        return body
    unproved = [(i, e) for i, e in zip(load.index, view.shape) if not is_inside(i, e, bounds)]
    if not unproved:
        return body
    if isinstance(body, Load) and body.outside in (None, load.outside) and _keeps_edges(view, tensors[body.tensor].shape, unproved, load):
        return Load(body.tensor, body.index, load.outside)
    outside = constant(load.outside, view.dtype)
    inside: Expr = constant(True, boolean)
    for i, extent in unproved:
        low = apply("ge", Ordinal(i, i64), constant(0, i64))
        high = apply("lt", Ordinal(i, i64), Ordinal(extent, i64))
        inside = apply("and", inside, apply("and", low, high))

    def guard(inner: Load) -> Expr:
        inner = map_load_indices(inner, guard)
        if inner.outside is not None:
            return inner
        index = _held_inside(inner, tensors[inner.tensor].shape, inside, bounds)
        return Load(inner.tensor, index) if index else Load(inner.tensor, inner.index, zero(tensors[inner.tensor].dtype))

    return apply("select", inside, map_loads(body, guard), outside)


def _held_inside(load: Load, shape: tuple[Index, ...], inside: Expr, bounds: Bounds) -> tuple[Index, ...] | None:
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


def _keeps_edges(view: Einsum, base: tuple[Index, ...], unproved: list[tuple[Index, Index]], load: Load) -> bool:
    """Whether every dimension read out of bounds is a whole dimension of the base, so that both have the same edges."""
    assert isinstance(view.expression, Load)
    whole = {i.as_variable for i, extent in zip(view.expression.index, base) if _extent_of(view, i) == extent}
    used = [name for i in view.expression.index for name in index_variables(i)]
    edges = [rank.name for rank, i in zip(view.free, load.index) if any(i is u for u, _ in unproved)]
    return all(name in whole and used.count(name) == 1 for name in edges)


def _extent_of(view: Einsum, index: Index) -> Index | None:
    name = index.as_variable
    return next((rank.extent for rank in view.free if rank.name == name), None)
