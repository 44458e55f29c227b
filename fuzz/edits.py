"""Edits of cascades that mutators and the reducer share."""

from __future__ import annotations

from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement
from tcomp.ir.expressions import Apply, Expr, Index, as_index


def exchange(expression: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with one part, which is found by identity, exchanged for another; parts inside indices are not looked at."""
    if expression is old:
        return new
    if not isinstance(expression, Apply):
        return expression
    arguments = tuple(exchange(argument, old, new) for argument in expression.arguments)
    return expression if all(a is b for a, b in zip(arguments, expression.arguments)) else Apply(expression.operator, arguments)


def resize(cascade: Cascade, old: int, new: int) -> Cascade:
    """The cascade with all extents of one size, wherever they stand, of another."""

    def extent(size: Index) -> Index:
        return as_index(new) if size.is_constant and size.constant == old else size

    def change(einsum: Einsum) -> Einsum:
        reduced = tuple(Rank(rank.name, extent(rank.extent)) for rank in einsum.reduced)
        return replace(einsum, shape=tuple(map(extent, einsum.shape)), reduced=reduced)

    statements: list[Statement] = [
        Iteration(Rank(s.rank.name, extent(s.rank.extent)), tuple(map(change, s.body))) if isinstance(s, Iteration) else change(s)
        for s in cascade.statements
    ]
    inputs = tuple(replace(t, shape=tuple(map(extent, t.shape))) for t in cascade.inputs)
    return replace(cascade, inputs=inputs, statements=tuple(statements))
