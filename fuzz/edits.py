"""Edits of cascades that mutators and the reducer share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement, Symbol
from tcomp.ir.expressions import Apply, Atom, Expr, Index, Quotient, Remainder, Value, as_index, atom_index
from tcomp.ir.traverse import map_einsum, map_einsums
from tcomp.ir.walk import map_indices, substitute, substitute_index, value_index


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
    return _map_extents(cascade, lambda size: as_index(new) if size.is_constant and size.constant == old else size)


def name_size(cascade: Cascade, size: int, symbol: Symbol, *, everywhere: bool) -> Cascade:
    """The cascade with a symbol in place of a size: as an extent; if it is `everywhere`, also in what was computed of the size.

    So 4 * i + 3 of a size of 4 becomes N * i + N - 1; of a size of 1 nothing can be told so. What has symbolic extents is no weight.
    """

    def extent(old: Index) -> Index:
        return _name_in(old, size, symbol) if everywhere else as_index(symbol.name) if old == as_index(size) else old

    named = _map_extents(replace(cascade, symbols=(*cascade.symbols, symbol)), extent)
    inputs = tuple(replace(t, weight=t.weight and all(e.is_constant for e in t.shape)) for t in named.inputs)
    named = replace(named, inputs=inputs)
    if not everywhere:
        return named
    return map_einsums(named, lambda e: map_einsum(e, lambda part: map_indices(part, lambda index: _name_in(index, size, symbol))))


def fix_size(cascade: Cascade, name: str, size: int) -> Cascade:
    """The cascade with a size in place of a symbol."""
    mapping = {name: as_index(size)}
    fixed = replace(cascade, symbols=tuple(symbol for symbol in cascade.symbols if symbol.name != name))
    fixed = _map_extents(fixed, lambda extent: substitute_index(extent, mapping))
    return map_einsums(fixed, lambda einsum: map_einsum(einsum, lambda part: substitute(part, mapping)))


def _map_extents(cascade: Cascade, extent: Callable[[Index], Index]) -> Cascade:
    """The cascade with every extent changed: of inputs, of ranks and of what is stored."""

    def change(einsum: Einsum) -> Einsum:
        reduced = tuple(Rank(rank.name, extent(rank.extent)) for rank in einsum.reduced)
        return replace(einsum, shape=tuple(map(extent, einsum.shape)), reduced=reduced)

    statements: list[Statement] = [
        Iteration(Rank(s.rank.name, extent(s.rank.extent)), tuple(map(change, s.body))) if isinstance(s, Iteration) else change(s)
        for s in cascade.statements
    ]
    inputs = tuple(replace(t, shape=tuple(map(extent, t.shape))) for t in cascade.inputs)
    return replace(cascade, inputs=inputs, statements=tuple(statements))


def _name_in(index: Index, size: int, symbol: Symbol) -> Index:
    """An index with the symbol in place of multiples of the size, and of what is one less or more."""

    def change(atom: Atom) -> Index:
        match atom:
            case Quotient(a, b):
                return _name_in(a, size, symbol) // _name_in(b, size, symbol)
            case Remainder(a, b):
                return _name_in(a, size, symbol) % _name_in(b, size, symbol)
            case Value(expression):
                return value_index(map_indices(expression, lambda inner: _name_in(inner, size, symbol)))
            case _:
                return atom_index(atom)

    total = _name_number(index.constant, size, symbol, (0, 1, -1))
    for monomial, coefficient in index.terms:
        product = _name_number(coefficient, size, symbol, (0,))
        for atom in monomial:
            product = product * change(atom)
        total = total + product
    return total


def _name_number(number: int, size: int, symbol: Symbol, beside: tuple[int, ...]) -> Index:
    for more in beside:
        times, rest = divmod(number - more, size)
        if times and not rest:
            return as_index(symbol.name) * times + more
    return as_index(number)
