"""Loads of points that do not count state a value outside, so that kernels may load before they ask what counts.

    S: f32[I[n]:6, d:8] = sum(n:9) X[n // 2 - 1, d] where n >= 2
      =>
    S: f32[I[n]:6, d:8] = sum(n:9) (X[n // 2 - 1, d] else 0.0) where n >= 2

A cascade lets an einsum read outside its tensors where its predicate is false. Kernels have no such freedom: what is proved of their
accesses, and what C reads, does not depend on predicates. Loads that are inside at all points stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tcomp.ir.cascade import Einsum, Symbol
from tcomp.ir.expressions import Expr, Load, zero
from tcomp.ir.index import is_inside
from tcomp.ir.walk import map_load_indices, map_loads
from tcomp.passes.bind.arguments import Bound, Operand
from tcomp.passes.einsums.group import rewrite_group
from tcomp.passes.einsums.slots import held_inside


def guard_loads(bound: Bound, symbols: tuple[Symbol, ...]) -> Bound:
    """State a value outside for the loads of operands that may be outside where a predicate is false; see the module's docstring."""
    group = rewrite_group(bound.group, lambda einsum: _guard(einsum, bound.operands, symbols))
    return bound if group is bound.group else replace(bound, group=group)


def _guard(einsum: Einsum, operands: Mapping[str, Operand], symbols: tuple[Symbol, ...]) -> Einsum:
    where = einsum.where
    if where is None:
        return einsum
    bounds = einsum.bounds(symbols)

    def guard(load: Load) -> Expr:
        load = map_load_indices(load, guard)
        if load.outside is not None or load.tensor not in operands:
            return load
        memory = operands[load.tensor].memory
        if all(is_inside(i, extent, bounds) for i, extent in zip(load.index, memory.shape)):
            return load
        index = held_inside(load, memory.shape, where, bounds)
        return Load(load.tensor, index) if index else Load(load.tensor, load.index, zero(memory.dtype))

    expression = map_loads(einsum.expression, guard)
    return einsum if expression == einsum.expression else replace(einsum, expression=expression)
