"""Normalise ranks: drop dimensions of extent one, and split a rank where loads divide it.

    Y: f32[b:1, s:S, n:N] = sum(k:768) A[b, k // 64, s, k % 64] * W[n, k]
      =>
    Y: f32[s:S, n:N] = sum(k.1:12, k.0:64) A[k.1, s, k.0] * W[n, 64*k.1 + k.0]

Both change the shapes of tensors but no element's place among the others, so for inputs and outputs they only change how the same
memory is viewed: `strides` of external tensors travel along. Tensors that are scattered into or carried keep their shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.expressions import ONE, ZERO, Atom, Cast, Expr, Index, Load, Ordinal, Quotient, Remainder, Value, Variable, as_index
from tcomp.ir.index import Bounds, floor_divide, interval, modulo, simplify_indices
from tcomp.ir.traverse import einsum_loads, map_einsum_loads
from tcomp.ir.walk import map_load_indices, substitute, walk
from tcomp.passes.einsums.rebuild import map_expressions

LARGEST_ROUNDS = 8
"""Splits of one einsum; a chain longer than this keeps its divisions."""

Strides = tuple[Index, ...]


@dataclass
class _Views:
    """How each tensor's dimensions changed, in order: (position, divisor), a divisor of 0 dropping the dimension."""

    changes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    """Tensors read beyond the edge of a unit dimension: that dimension must stay."""

    def index(self, tensor: str, index: tuple[Index, ...], bounds: Bounds) -> tuple[Index, ...]:
        """The new index of an element."""
        for position, divisor in self.changes.get(tensor, ()):
            i = index[position]
            parts = (floor_divide(i, as_index(divisor), bounds), modulo(i, as_index(divisor), bounds)) if divisor else ()
            index = (*index[:position], *parts, *index[position + 1 :])
        return index

    def strides(self, tensor: str, strides: Strides) -> Strides:
        """The strides of the new dimensions over the same memory."""
        for position, divisor in self.changes.get(tensor, ()):
            parts = (strides[position] * divisor, strides[position]) if divisor else ()
            strides = (*strides[:position], *parts, *strides[position + 1 :])
        return strides


def normalise_ranks(cascade: Cascade, strides: Mapping[str, Strides]) -> tuple[Cascade, dict[str, Strides]]:
    """Drop unit dimensions and split divided ranks; `strides` are those of the inputs and outputs, in elements."""
    views = _Views(kept=_read_beyond_units(cascade))
    inputs = []
    for tensor in cascade.inputs:
        shape = tensor.shape
        while ONE in shape and tensor.name not in views.kept:
            position = shape.index(ONE)
            views.changes.setdefault(tensor.name, []).append((position, 0))
            shape = (*shape[:position], *shape[position + 1 :])
        inputs.append(replace(tensor, shape=shape))
    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Iteration):
            body = tuple(_reread(e, views, cascade) for e in statement.body)
            statements.append(replace(statement, body=body))
        else:
            statements.append(_normalise(statement, cascade, views))
    new = replace(cascade, inputs=tuple(inputs), statements=tuple(statements))
    return new, {name: views.strides(name, s) for name, s in strides.items()}


def _normalise(einsum: Einsum, cascade: Cascade, views: _Views) -> Einsum:
    new = _drop_units(_reread(einsum, views, cascade), cascade, views)
    for _ in range(LARGEST_ROUNDS):
        found = _find_division(new)
        if found is None:
            break
        new = split_rank(new, found[0], found[1], cascade, views)
    return new


def _drop_units(einsum: Einsum, cascade: Cascade, views: _Views) -> Einsum:
    """Read at position 0 along ranks of extent one, reduce only over longer ranks, and drop unit dimensions."""
    units = {rank.name: ZERO for rank in einsum.ranks if rank.extent == ONE}
    if not units or einsum.initial is not None or einsum.is_scatter:
        return einsum

    def change(expression: Expr, limits: Bounds) -> Expr:
        return simplify_indices(substitute(expression, units), limits)

    new = map_expressions(einsum, change, einsum.bounds(cascade.symbols))
    shape, index = new.shape, new.index
    while ONE in shape and not any(name in views.kept for name, _ in new.targets):
        position = shape.index(ONE)
        for name, _ in new.targets:
            views.changes.setdefault(name, []).append((position, 0))
        shape = (*shape[:position], *shape[position + 1 :])
        index = (*index[:position], *index[position + 1 :])
    kept = tuple(r for r in new.reduced if r.extent != ONE)
    if new.reduced and not kept:
        if len(new.targets) == 1 and new.where is None and _is_plain(new.reduce):
            return replace(new, index=index, shape=shape, expression=_stored(new, cascade), reduce=None, reduced=())
        kept = new.reduced[:1]
    return replace(new, index=index, shape=shape, reduced=kept)


def _read_beyond_units(cascade: Cascade) -> frozenset[str]:
    shapes = {t.name: t.shape for t in cascade.tensors().values()}
    found = set()
    for einsum in cascade.einsums():
        bounds = einsum.bounds(cascade.symbols)
        for load in einsum_loads(einsum):
            if load.outside is not None and load.tensor in shapes:
                pairs = zip(load.index, shapes[load.tensor])
                if any(extent == ONE and interval(i, bounds) != (0, 0) for i, extent in pairs):
                    found.add(load.tensor)
    return frozenset(found)


def _is_plain(monoid: str | None) -> bool:
    """Whether folding a single element gives that element."""
    return monoid in ("sum", "prod", "max", "min", "any", "all", "xor")


def _stored(einsum: Einsum, cascade: Cascade) -> Expr:
    """The expression of a sum of one element as a map stores it: in the type of its target."""
    dtype = expression_dtype(einsum.expression, {name: tensor.dtype for name, tensor in cascade.tensors().items()})
    return einsum.expression if dtype == einsum.dtype else Cast(einsum.dtype, einsum.expression)


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


def _find_division(einsum: Einsum) -> tuple[Rank, int] | None:
    """A rank that some load divides by a static divisor of its extent; the largest divisor first."""
    if einsum.initial is not None or einsum.is_scatter or len(einsum.targets) > 1:
        return None
    splittable = {r.name: r for r in einsum.ranks}
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


def _reread(einsum: Einsum, views: _Views, cascade: Cascade) -> Einsum:
    """Read tensors whose dimensions changed by their new indices."""
    if not any(name in views.changes for name in einsum.reads()):
        return einsum
    bounds = einsum.bounds(cascade.symbols)

    def read(load: Load) -> Load:
        load = map_load_indices(load, read)
        if load.tensor not in views.changes:
            return load
        return Load(load.tensor, views.index(load.tensor, load.index, bounds), load.outside)

    return map_einsum_loads(einsum, read)


def split_rank(einsum: Einsum, rank: Rank, divisor: int, cascade: Cascade, views: _Views) -> Einsum:
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
            views.changes.setdefault(einsum.name, []).append((position, divisor))
            break
    new = replace(einsum, index=index, shape=shape, reduced=reduced)
    bounds = new.bounds(cascade.symbols)

    def change(expression: Expr, limits: Bounds) -> Expr:
        return simplify_indices(substitute(expression, mapping), limits)

    return map_expressions(new, change, bounds)
