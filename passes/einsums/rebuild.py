"""Small tools that passes over cascades share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum
from tcomp.ir.expressions import Expr
from tcomp.ir.index import Bounds
from tcomp.ir.traverse import statement_einsums


def map_expressions(einsum: Einsum, change: Callable[[Expr, Bounds], Expr], bounds: Bounds) -> Einsum:
    """Apply `change` to the expression, predicate and initial value of an einsum; the same einsum if nothing changed.

    Its slots stay: for changes that keep the value of an index there is `tcomp.passes.einsums.slots`, for all others `tcomp.ir.traverse`.
    """
    expression = change(einsum.expression, bounds)
    where = None if einsum.where is None else change(einsum.where, bounds)
    initial = None if einsum.initial is None else change(einsum.initial, bounds)
    if expression is einsum.expression and where is einsum.where and initial is einsum.initial:
        return einsum
    return replace(einsum, expression=expression, where=where, initial=initial)


def count_readers(cascade: Cascade) -> dict[str, int]:
    """Number of statements that read each tensor, an output counting as one more reader."""
    counts: dict[str, int] = {}
    for statement in cascade.statements:
        names = {n: None for e in statement_einsums(statement) for n in e.reads()}
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    for name in cascade.outputs:
        counts[name] = counts.get(name, 0) + 1
    return counts
