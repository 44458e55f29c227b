"""Walk, map and rewrite expressions and indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import (
    Apply,
    Atom,
    Cast,
    Constant,
    Expr,
    Index,
    Load,
    Ordinal,
    Quotient,
    Remainder,
    Value,
    Variable,
    as_index,
    atom_index,
)


def walk(expression: Expr) -> Iterator[Expr]:
    """Yield the expression and its parts, parents first, those inside indices included."""
    yield expression
    match expression:
        case Load(_, index):
            for i in index:
                yield from walk_index(i)
        case Ordinal(i, _):
            yield from walk_index(i)
        case Apply(_, arguments):
            for argument in arguments:
                yield from walk(argument)
        case Cast(_, argument):
            yield from walk(argument)
        case Constant():
            pass


def walk_index(index: Index) -> Iterator[Expr]:
    """Yield the scalar expressions inside an index."""
    for monomial, _ in index.terms:
        for atom in monomial:
            match atom:
                case Value(expression):
                    yield from walk(expression)
                case Quotient(a, b) | Remainder(a, b):
                    yield from walk_index(a)
                    yield from walk_index(b)
                case Variable():
                    pass


def loads(expression: Expr) -> list[Load]:
    """All loads of an expression in order of appearance, those inside indices included, duplicates kept."""
    return [e for e in walk(expression) if isinstance(e, Load)]


def index_variables(index: Index) -> set[str]:
    """Names of all variables in an index, those inside values included."""
    names: set[str] = set()
    for monomial, _ in index.terms:
        for atom in monomial:
            match atom:
                case Variable(name):
                    names.add(name)
                case Quotient(a, b) | Remainder(a, b):
                    names |= index_variables(a) | index_variables(b)
                case Value(expression):
                    names |= variables(expression)
    return names


def variables(expression: Expr) -> set[str]:
    """Names of all variables in an expression's indices."""
    names: set[str] = set()
    match expression:
        case Load(_, index):
            for i in index:
                names |= index_variables(i)
        case Ordinal(i, _):
            names |= index_variables(i)
        case Apply(_, arguments):
            for argument in arguments:
                names |= variables(argument)
        case Cast(_, argument):
            names |= variables(argument)
        case Constant():
            pass
    return names


def map_arguments(expression: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Apply `change` to the arguments of an operator or a conversion; the same expression if nothing changed, or if it is neither."""
    match expression:
        case Apply(operator, arguments):
            new = tuple(map(change, arguments))
            return expression if all(a is b for a, b in zip(new, arguments)) else Apply(operator, new)
        case Cast(dtype, argument):
            inner = change(argument)
            return expression if inner is argument else Cast(dtype, inner)
        case _:
            return expression


def map_loads(expression: Expr, change: Callable[[Load], Expr]) -> Expr:
    """Rebuild an expression with `change` applied to each load outside-in (its indices are not visited again)."""
    match expression:
        case Load():
            return change(expression)
        case Ordinal(i, dtype):
            new_index = _map_index_loads(i, change)
            return expression if new_index is i else Ordinal(new_index, dtype)
        case _:
            return map_arguments(expression, lambda argument: map_loads(argument, change))


def map_load_indices(load_: Load, change: Callable[[Load], Expr]) -> Load:
    """Apply `change` to the loads inside the indices of a load."""
    index = tuple(_map_index_loads(i, change) for i in load_.index)
    return load_ if all(a is b for a, b in zip(index, load_.index)) else Load(load_.tensor, index, load_.outside)


def _map_index_loads(index: Index, change: Callable[[Load], Expr]) -> Index:
    if not any(True for _ in walk_index(index)):
        return index

    def changed(atom: Atom) -> Index:
        match atom:
            case Value(expression):
                return value_index(map_loads(expression, change))
            case Quotient(a, b):
                return _map_index_loads(a, change) // _map_index_loads(b, change)
            case Remainder(a, b):
                return _map_index_loads(a, change) % _map_index_loads(b, change)
            case Variable():
                return atom_index(atom)

    return rebuild(index, changed)


def value_index(expression: Expr) -> Index:
    """Use an integer expression as an index; literals and i64 ordinals become plain indices (a narrower one may wrap)."""
    match expression:
        case Constant(value, dtype) if dtype.is_int:
            return as_index(int(value))
        case Ordinal(index, dtype) if dtype == i64:
            return index
        case _:
            return atom_index(Value(expression))


def rebuild(index: Index, change: Callable[[Atom], Index]) -> Index:
    """Rebuild an index with every atom replaced by an index."""
    total = as_index(index.constant)
    for monomial, coefficient in index.terms:
        product = as_index(coefficient)
        for atom in monomial:
            product = product * change(atom)
        total = total + product
    return total


def substitute_index(index: Index, mapping: dict[str, Index]) -> Index:
    """Replace variables in an index (values included) by indices."""
    if not index.terms:
        return index
    name = index.as_variable
    if name is not None:
        return mapping.get(name, index)

    def change(atom: Atom) -> Index:
        match atom:
            case Variable(n):
                return mapping[n] if n in mapping else atom_index(atom)
            case Quotient(a, b):
                return substitute_index(a, mapping) // substitute_index(b, mapping)
            case Remainder(a, b):
                return substitute_index(a, mapping) % substitute_index(b, mapping)
            case Value(expression):
                return value_index(substitute(expression, mapping))

    return rebuild(index, change)


def substitute(expression: Expr, mapping: dict[str, Index]) -> Expr:
    """Replace variables in an expression by indices."""
    return map_indices(expression, lambda index: substitute_index(index, mapping))


def map_indices(expression: Expr, change: Callable[[Index], Index]) -> Expr:
    """Rebuild an expression with `change` applied to the indices of its loads and ordinals; it visits what those hold itself."""
    match expression:
        case Load(tensor, index, outside):
            return Load(tensor, tuple(map(change, index)), outside)
        case Ordinal(index, dtype):
            return Ordinal(change(index), dtype)
        case _:
            return map_arguments(expression, lambda argument: map_indices(argument, change))
