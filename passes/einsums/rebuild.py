"""Small tools that passes over cascades share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Statement
from tcomp.ir.expressions import Expr
from tcomp.ir.index import Bounds


def map_einsums(cascade: Cascade, change: Callable[[Einsum], Einsum]) -> Cascade:
    """Apply `change` to every einsum; the same cascade if nothing changed."""
    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Iteration):
            body = tuple(change(e) for e in statement.body)
            same = all(a is b for a, b in zip(body, statement.body))
            statements.append(statement if same else replace(statement, body=body))
        else:
            statements.append(change(statement))
    return cascade.with_statements(tuple(statements))


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


def statement_einsums(statement: Statement) -> tuple[Einsum, ...]:
    """The einsums of a statement."""
    return statement.body if isinstance(statement, Iteration) else (statement,)
