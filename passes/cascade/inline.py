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

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.dtypes import boolean, i64
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, Number, Ordinal, apply, constant
from tcomp.ir.index import Bounds, is_data, is_inside, simplify_indices
from tcomp.ir.traverse import map_einsums
from tcomp.ir.walk import index_variables, loads, map_load_indices, map_loads, substitute, value_index, walk
from tcomp.passes.einsums.facts import cost
from tcomp.passes.einsums.rebuild import map_expressions
from tcomp.passes.einsums.slots import held_inside, read_inside, replace_slots

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
        new = einsum
        # Slots that must stay data are guarded, and their guards read through as well.
        while any(n in views for n in new.reads()):
            before, new = new, map_expressions(new, inline, new.bounds(cascade.symbols))
            new = replace_slots(new, tuple(inline_slot(i, new) for i in new.index), cascade, tensors)
            if new == before:
                new = before
                break
        if new.is_map and (is_view(new.expression) or (new.name in only_indices and _is_small(new.expression))):
            views[new.name] = new
        return new

    def inline(expression: Expr, bounds: Bounds) -> Expr:
        def read(load: Load) -> Expr:
            load = keep_checked(load, map_load_indices(load, read), tensors, bounds)
            view = views.get(load.tensor)
            return load if view is None or not keeps_checks(view, load, tensors, bounds) else read_through(view, load, tensors, bounds)

        new = map_loads(expression, read)
        return expression if new == expression else simplify_indices(new, bounds)

    def inline_slot(slot: Index, einsum: Einsum) -> Index:
        return value_index(inline(Ordinal(slot, i64), einsum.bounds(cascade.symbols)))

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


def keep_checked(load: Load, read: Load, tensors: Mapping[str, Tensor], bounds: Bounds) -> Load:
    """A load whose indices were read through views, but for those that would no longer be checked, though they may be outside.

    Of what a size that is not known counts, all that is known may be that it is data: J: i64[i:N] = i64[i] at W[J[i]].
    """
    if load.outside is not None or load.tensor not in tensors or read.index == load.index:
        return read
    pairs = zip(load.index, read.index, tensors[load.tensor].shape)
    index = tuple(old if is_data(old) and not is_data(new) and not is_inside(new, e, bounds) else new for old, new, e in pairs)
    return Load(read.tensor, index, read.outside)


def keeps_checks(view: Einsum, load: Load, tensors: Mapping[str, Tensor], bounds: Bounds) -> bool:
    """Whether an index that is data and outside the view is outside what the view reads as well, so that it remains an error.

    It is not where the view shows a part of a dimension, repeats it, or reads nothing there: V: i64[i:3] = i64[i] is 7 at V[J[0]]
    where J[0] is 7. Nor is it where a read beyond the view, which gives a stated value, is one beyond what it reads by data.
    """
    if load.outside is not None:
        body = substitute(view.expression, {rank.name: i for rank, i in zip(view.free, load.index)})
        gathers = [inner for inner in loads(body) if inner.outside is None and any(map(is_data, inner.index)) and inner.tensor in tensors]
        return all(held_inside(inner, tensors[inner.tensor].shape, constant(True, boolean), bounds) for inner in gathers)
    data = [rank for rank, i in zip(view.free, load.index) if is_data(i) and not is_inside(i, rank.extent, bounds)]
    if not data:
        return True
    whole = {
        i.as_variable
        for inner in loads(view.expression)
        if inner.outside is None and inner.tensor in tensors
        for i, extent in zip(inner.index, tensors[inner.tensor].shape)
        if _extent_of(view, i) == extent
    }
    return all(rank.name in whole for rank in data)


def read_through(view: Einsum, load: Load, tensors: Mapping[str, Tensor], bounds: Bounds) -> Expr:
    """The view's expression at the position a load reads; a read outside the view keeps its stated value."""
    mapping = {rank.name: i for rank, i in zip(view.free, load.index)}
    body = substitute(view.expression, mapping)
    if load.outside is None:
        return body
    unproved = [(i, e) for i, e in zip(load.index, view.shape) if not is_inside(i, e, bounds)]
    if not unproved:
        return body
    if isinstance(body, Load) and _is_plain(body, load.outside) and _keeps_edges(view, tensors[body.tensor].shape, unproved, load):
        return Load(body.tensor, body.index, load.outside)
    outside = constant(load.outside, view.dtype)
    inside: Expr = constant(True, boolean)
    for i, extent in unproved:
        low = apply("ge", Ordinal(i, i64), constant(0, i64))
        high = apply("lt", Ordinal(i, i64), Ordinal(extent, i64))
        inside = apply("and", inside, apply("and", low, high))

    return apply("select", inside, read_inside(body, inside, tensors, bounds), outside)


def _is_plain(load: Load, outside: Number) -> bool:
    """Whether a load reads nothing by data, and beyond its tensor the same value as the load of its view, if any."""
    return load.outside in (None, outside) and not any(map(is_data, load.index))


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
