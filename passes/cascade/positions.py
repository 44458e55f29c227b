"""Constants of positions stay expressions: what depends on no input, and is larger than a cache, is computed where it is read.

    D: f32[i:1024, j:1024] = exp(f32(i64[i - j]) * rate[0])
    Z: f32[i:1024, j:1024] = X[i, j] * D[i, j]
      =>
    Z: f32[i:1024, j:1024] = X[i, j] * exp(f32(i64[i - j]) * rate[0])

if rate depends on nothing either. Without this pass D would be folded once (`tcomp.passes.cascade.fold`) and kept, and every call would
read it from memory. What a contraction reads stays folded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from tcomp.ir.cascade import Cascade, Einsum, Statement, Tensor
from tcomp.ir.expressions import Expr, Load
from tcomp.ir.index import Bounds, is_data
from tcomp.ir.traverse import statement_einsums
from tcomp.ir.walk import loads, map_load_indices, map_loads
from tcomp.passes.cascade.inline import keeps_checks, read_through
from tcomp.passes.einsums.contraction import is_contraction
from tcomp.passes.einsums.rebuild import map_expressions

IsWorth: TypeAlias = Callable[[Einsum, Mapping[str, Tensor]], bool]
"""Whether a map is better computed where it is read than kept."""


def expand_positions(cascade: Cascade, is_worth: IsWorth) -> tuple[Cascade, tuple[str, ...]]:
    """Read through the constants that are worth it; the same cascade if there are none. Returns their names, too."""
    tensors = cascade.tensors()
    maps = {n: e for n, e in _find_fixed(cascade).items() if e is not None and e.is_map and n not in cascade.outputs}
    for statement in cascade.statements:
        for einsum in statement_einsums(statement):
            if statement is not einsum or einsum.is_scatter or is_contraction(einsum):
                for name in einsum.reads():
                    maps.pop(name, None)
    found: dict[str, Einsum] = {}
    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Einsum) and any(name in found for name in statement.reads()):
            statement = _read_maps(statement, found, tensors, cascade)
        if isinstance(statement, Einsum) and statement.name in maps and _is_plain(statement) and is_worth(statement, tensors):
            found[statement.name] = statement
        statements.append(statement)
    return (cascade.with_statements(tuple(statements)) if found else cascade), tuple(found)


def _find_fixed(cascade: Cascade) -> dict[str, Einsum | None]:
    """The tensors that depend on no input and no weight, with the einsum that makes each, if no iteration does."""
    fixed: dict[str, Einsum | None] = {}
    for statement in cascade.statements:
        einsums = statement_einsums(statement)
        own = {name for e in einsums for name, _ in e.targets}
        if all(name in fixed or name in own for e in einsums for name in e.reads()):
            fixed.update((name, e if e is statement else None) for e in einsums for name, _ in e.targets)
    return fixed


def _is_plain(einsum: Einsum) -> bool:
    """Whether no index of a map is data."""
    return not any(is_data(i) for load in loads(einsum.expression) for i in load.index)


def _read_maps(einsum: Einsum, found: Mapping[str, Einsum], tensors: Mapping[str, Tensor], cascade: Cascade) -> Einsum:
    bounds = einsum.bounds(cascade.symbols)

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        made = found.get(load.tensor)
        return load if made is None or not keeps_checks(made, load, tensors, bounds) else read_through(made, load, tensors, bounds)

    def change(expression: Expr, _: Bounds) -> Expr:
        return map_loads(expression, read)

    return map_expressions(einsum, change, bounds)
