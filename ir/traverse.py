"""Walk and rewrite einsums: all parts of one together, so that no rewrite forgets one.

The parts of an einsum are its expression, `where`, `from`, and its slots, each as the ordinal of its index. Whatever renames ranks,
exchanges tensors or moves slots does it by the functions here, which do it everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement
from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import Expr, Index, Load, Ordinal, as_index
from tcomp.ir.walk import map_loads, substitute, value_index, walk


def parts(einsum: Einsum) -> Iterator[Expr]:
    """Every part of an einsum: its expression, `where` and `from` where it has them, and its slots as ordinals."""
    yield einsum.expression
    if einsum.where is not None:
        yield einsum.where
    if einsum.initial is not None:
        yield einsum.initial
    for index in einsum.index:
        yield Ordinal(index, i64)


def einsum_loads(einsum: Einsum) -> Iterator[Load]:
    """Every load of an einsum in any of its parts, those inside indices included, duplicates kept."""
    for part in parts(einsum):
        for node in walk(part):
            if isinstance(node, Load):
                yield node


def map_einsum(einsum: Einsum, change: Callable[[Expr], Expr]) -> Einsum:
    """Apply `change` to every part of an einsum; the same einsum if nothing changed.

    A bare slot stays bare, and no other slot becomes bare: that would make it mean something else.
    """
    expression = change(einsum.expression)
    where = None if einsum.where is None else change(einsum.where)
    initial = None if einsum.initial is None else change(einsum.initial)
    index = tuple(_map_slot(i, change) for i in einsum.index)
    if expression is einsum.expression and where is einsum.where and initial is einsum.initial and index == einsum.index:
        return einsum
    return replace(einsum, expression=expression, where=where, initial=initial, index=index)


def map_values(einsum: Einsum, change: Callable[[Expr], Expr]) -> Einsum:
    """Apply `change` to what is evaluated at every point, the expression and `where`; the same einsum if nothing changed.

    For what makes an einsum over other points or of other tensors, and so gives it slots and `from` of its own.
    """
    expression = change(einsum.expression)
    where = None if einsum.where is None else change(einsum.where)
    return einsum if expression is einsum.expression and where is einsum.where else replace(einsum, expression=expression, where=where)


def _map_slot(index: Index, change: Callable[[Expr], Expr]) -> Index:
    holder = Ordinal(index, i64)
    changed = change(holder)
    if changed is holder:
        return index
    new = value_index(changed)
    assert (new.as_variable is None) == (index.as_variable is None), f"the slot {index} may not become {new}"
    return new


def map_einsum_loads(einsum: Einsum, change: Callable[[Load], Expr]) -> Einsum:
    """Apply `change` to every load of an einsum (its indices are not visited again); the same einsum if nothing changed."""
    return map_einsum(einsum, lambda part: map_loads(part, change))


def rename_ranks(einsum: Einsum, mapping: Mapping[str, str]) -> Einsum:
    """Rename rank variables; ranks not in the mapping keep their names."""
    changes = {old: as_index(new) for old, new in mapping.items() if old != new}
    if not changes:
        return einsum
    renamed = map_einsum(einsum, lambda part: substitute(part, changes))
    return replace(renamed, reduced=tuple(Rank(mapping.get(r.name, r.name), r.extent) for r in einsum.reduced))


def move_slots(einsum: Einsum, index: tuple[Index, ...], shape: tuple[Index, ...], origin: tuple[int, ...]) -> Einsum:
    """Give an einsum other slots; `origin` says at which place each was before, by which `from` may name it.

    Before and after, where i and j are walked as one:

        Y: f32[i:4, j:6, I[n]:9] = sum(n:N) X[i, j, n] from T[i, j, _2]
        Y: f32[i:24, I[n]:9] = sum(n:N) X[i, j, n] from T[i, j, _1]
    """
    new = replace(einsum, index=index, shape=shape)
    if einsum.initial is None:
        return new
    old = einsum.slot_ranks
    names = {old[before].name: as_index(slot.name) for slot, before in zip(new.slot_ranks, origin)}
    changes = {name: there for name, there in names.items() if there.as_variable != name}
    return replace(new, initial=substitute(einsum.initial, changes)) if changes else new


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


def statement_einsums(statement: Statement) -> tuple[Einsum, ...]:
    """The einsums of a statement."""
    return statement.body if isinstance(statement, Iteration) else (statement,)
