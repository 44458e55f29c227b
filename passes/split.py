"""Normalise ranks: drop ranks of extent one, and split a rank where loads divide it.

    Y: f32[s:S, n:N] = sum(k:768) A[k // 64, s, k % 64] * W[n, k]
      =>
    Y: f32[s:S, n:N] = sum(k.1:12, k.0:64) A[k.1, s, k.0] * W[n, 64*k.1 + k.0]

A reduced rank is split within its einsum. A free rank becomes a dimension of the tensor, so it is split only for a tensor internal to
the program, whose shape changes with it; its readers are rewritten and may split in turn.
"""

from __future__ import annotations

from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement
from tcomp.ir.expressions import (
    Atom,
    Expr,
    Index,
    Load,
    Ordinal,
    Quotient,
    Remainder,
    Value,
    Variable,
    as_index,
    map_load_indices,
    map_loads,
    substitute,
    walk,
)
from tcomp.ir.index import Bounds, floor_divide, modulo, simplify_indices
from tcomp.passes.rebuild import map_expressions

LARGEST_ROUNDS = 8
"""Splits of one einsum; a chain longer than this keeps its divisions."""


def normalise_ranks(cascade: Cascade) -> Cascade:
    """Drop unit ranks and split divided ranks; the same cascade if nothing changes."""
    splits: dict[str, list[tuple[int, int]]] = {}
    internal = {name for e in cascade.einsums() for name, _ in e.targets} - set(cascade.outputs)
    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Iteration):
            body = tuple(_drop_units(_reread(e, splits, cascade), cascade) for e in statement.body)
            same = all(a is b for a, b in zip(body, statement.body))
            statements.append(statement if same else replace(statement, body=body))
        else:
            statements.append(_normalise(statement, cascade, splits, internal))
    return cascade.with_statements(tuple(statements))


def _normalise(einsum: Einsum, cascade: Cascade, splits: dict[str, list[tuple[int, int]]], internal: set[str]) -> Einsum:
    new = _drop_units(_reread(einsum, splits, cascade), cascade)
    for _ in range(LARGEST_ROUNDS):
        found = _find_division(new, internal)
        if found is None:
            break
        rank, divisor = found
        new = split_rank(new, rank, divisor, cascade, splits)
    return new


def _drop_units(einsum: Einsum, cascade: Cascade) -> Einsum:
    """Read at position 0 along ranks of extent one, and reduce only over longer ranks."""
    one = as_index(1)
    units = {rank.name: as_index(0) for rank in einsum.ranks if rank.extent == one}
    if not units or einsum.initial is not None:
        return einsum
    names = {name for part in (einsum.expression, einsum.where) if part is not None for name in _names(part)}
    if not any(name in names for name in units) and all(r.extent != one for r in einsum.reduced):
        return einsum
    bounds = einsum.bounds(cascade.symbols)

    def change(expression: Expr, limits: Bounds) -> Expr:
        return simplify_indices(substitute(expression, units), limits)

    new = map_expressions(einsum, change, bounds)
    kept = tuple(r for r in new.reduced if r.extent != one)
    if new.reduce in ("sum", "prod", "max", "min", "any", "all") and not kept and not new.is_scatter:
        return replace(new, reduce=None, reduced=()) if new.where is None else new
    return new if len(kept) == len(new.reduced) or not kept or len(new.targets) > 1 else replace(new, reduced=kept)


def _names(expression: Expr) -> set[str]:
    found: set[str] = set()
    for node in walk(expression):
        indices = node.index if isinstance(node, Load) else (node.index,) if isinstance(node, Ordinal) else ()
        for i in indices:
            for monomial, _ in i.terms:
                for atom in monomial:
                    found |= _atom_names(atom)
    return found


def _atom_names(atom: Atom) -> set[str]:
    match atom:
        case Variable(name):
            return {name}
        case Quotient(a, b) | Remainder(a, b):
            return {n for i in (a, b) for m, _ in i.terms for inner in m for n in _atom_names(inner)}
        case Value():
            return set()


def _divisions(index: Index) -> list[tuple[Index, Index]]:
    found: list[tuple[Index, Index]] = []
    for monomial, _ in index.terms:
        for atom in monomial:
            if isinstance(atom, (Quotient, Remainder)):
                found.append((atom.numerator, atom.denominator))
                found += _divisions(atom.numerator)
    return found


def _find_division(einsum: Einsum, internal: set[str]) -> tuple[Rank, int] | None:
    """A rank that some load divides by a static divisor of its extent, and that may be split; the largest divisor first."""
    if einsum.initial is not None or einsum.is_scatter or len(einsum.targets) > 1:
        return None
    splittable = {r.name: r for r in einsum.reduced}
    if einsum.name in internal:
        splittable |= {r.name: r for r in einsum.free}
    candidates: dict[tuple[str, int], None] = {}
    for part in (einsum.expression, einsum.where):
        for node in walk(part) if part is not None else ():
            if not isinstance(node, Load):
                continue
            for i in node.index:
                for numerator, denominator in _divisions(i):
                    name = numerator.as_variable
                    if name is not None and name in splittable and denominator.is_constant:
                        candidates[(name, denominator.constant)] = None
    for (name, divisor) in sorted(candidates, key=lambda c: (-c[1], c[0])):
        extent = splittable[name].extent
        if extent.is_constant and extent.constant % divisor == 0 and 1 < divisor < extent.constant:
            return splittable[name], divisor
    return None


def _reread(einsum: Einsum, splits: dict[str, list[tuple[int, int]]], cascade: Cascade) -> Einsum:
    """Read tensors whose dimensions were split with the split index."""
    if not any(name in splits for name in einsum.reads()):
        return einsum
    bounds = einsum.bounds(cascade.symbols)

    def read(load: Load) -> Load:
        load = map_load_indices(load, read)
        index = load.index
        for position, divisor in splits.get(load.tensor, ()):
            d = as_index(divisor)
            i = index[position]
            index = (*index[:position], floor_divide(i, d, bounds), modulo(i, d, bounds), *index[position + 1 :])
        return load if index is load.index else Load(load.tensor, index, load.outside)

    return map_expressions(einsum, lambda expression, _: map_loads(expression, read), bounds)


def split_rank(
    einsum: Einsum, rank: Rank, divisor: int, cascade: Cascade, splits: dict[str, list[tuple[int, int]]]
) -> Einsum:
    """Split `rank` into `rank.1` (outer) and `rank.0` (inner, of extent `divisor`)."""
    outer, inner = f"{rank.name}.1", f"{rank.name}.0"
    mapping = {rank.name: as_index(outer) * divisor + as_index(inner)}
    parts = (Rank(outer, as_index(rank.extent.constant // divisor)), Rank(inner, as_index(divisor)))
    index, shape = einsum.index, einsum.shape
    reduced = tuple(p for r in einsum.reduced for p in (parts if r == rank else (r,)))
    for position, slot in enumerate(index):
        if slot.as_variable == rank.name:
            index = (*index[:position], as_index(outer), as_index(inner), *index[position + 1 :])
            shape = (*shape[:position], parts[0].extent, parts[1].extent, *shape[position + 1 :])
            splits.setdefault(einsum.name, []).append((position, divisor))
            break
    new = replace(einsum, index=index, shape=shape, reduced=reduced)
    bounds = new.bounds(cascade.symbols)

    def change(expression: Expr, limits: Bounds) -> Expr:
        return simplify_indices(substitute(expression, mapping), limits)

    return map_expressions(new, change, bounds)
