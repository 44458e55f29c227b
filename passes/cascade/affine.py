"""Fold what scales and shifts a contraction's result into its weights: batch norm after a convolution costs one addition.

    Y: f32[n:N, k:64] = sum(c:32) X[n, c] * W[k, c]
    A: f32[n:N, k:64] = Y[n, k] - mean[k]
    Z: f32[n:N, k:64] = A[n, k] * scale[k] + beta[k]
      =>
    W.scaled: f32[d0:64, d1:32] = W[d0, d1] * scale[d0]
    Z.shift: f32[k:64] = -mean[k] * scale[k] + beta[k]
    Y: f32[n:N, k:64] = sum(c:32) X[n, c] * W.scaled[k, c]
    Z: f32[n:N, k:64] = Y[n, k] + Z.shift[k]

W, mean, scale and beta depend on weights alone, so the first two are computed once (`tcomp.passes.cascade.fold`). That a chain of maps is
affine in Y is derived from its expressions. Roundings change, so this runs only where numerics need not be strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tcomp.ir.cascade import Cascade, Einsum, Rank, Statement
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, apply, as_index
from tcomp.ir.names import fresh
from tcomp.ir.traverse import statement_einsums
from tcomp.ir.walk import loads, substitute, substitute_index, variables
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.rebuild import count_readers


@dataclass(frozen=True, slots=True)
class Affine:
    """scale * y + shift; None stands for a scale of one, a shift of zero."""

    scale: Expr | None = None
    shift: Expr | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What coefficients may be made of: which tensors are static, all dtypes, and the type coefficients have."""

    static: Mapping[str, bool]
    dtypes: Mapping[str, DType]
    wide: DType


@dataclass(frozen=True, slots=True)
class _Chain:
    """The maps that follow a contraction, and what the last one is in terms of it, over the contraction's ranks."""

    maps: tuple[Einsum, ...]
    affine: Affine
    ranks: Mapping[str, str]
    """The contraction's rank for each rank of the last map."""


def fold_affine(cascade: Cascade) -> Cascade:
    """Fold affine maps after contractions with static weights; the same cascade if there is none to fold."""
    static = static_tensors(cascade)
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    counts = count_readers(cascade)
    readers: dict[str, Einsum] = {}
    for statement in cascade.statements:
        if isinstance(statement, Einsum):
            readers.update((name, statement) for name in statement.reads() if counts[name] == 1)
    dropped: set[str] = set()
    emitted: dict[str, tuple[Einsum, ...]] = {}
    taken = set(cascade.tensors())
    for statement in cascade.statements:
        # A contraction of weights alone is computed once as it is, and might be a coefficient itself: of another, or of its own maps.
        if not isinstance(statement, Einsum) or not _may_fold(statement) or static[statement.name]:
            continue
        chain = _follow(statement, readers, Known(static, dtypes, statement.dtype), set(cascade.outputs))
        weight = None if chain is None else _find_weight(statement, chain.affine.scale, static)
        if chain is None or weight is None:
            continue
        *between, last = chain.maps
        dropped.update((statement.name, *(e.name for e in between)))
        emitted[last.name] = _emit(statement, weight, chain, cascade, taken)
    kept: list[Statement] = []
    for statement in cascade.statements:
        names = [name for e in statement_einsums(statement) for name, _ in e.targets]
        if names[0] in emitted:
            kept += emitted[names[0]]
        elif names[0] not in dropped:
            kept.append(statement)
    return cascade.with_statements(tuple(kept))


def _may_fold(einsum: Einsum) -> bool:
    is_sum = einsum.reduce == "sum" and not einsum.is_scatter and einsum.where is None
    return is_sum and einsum.dtype.is_float and einsum.dtype.bits >= 32


def _follow(contraction: Einsum, readers: Mapping[str, Einsum], known: Known, outputs: set[str]) -> _Chain | None:
    """The longest chain of affine maps after a contraction; None if folding it saves nothing."""
    chain = _Chain((), Affine(), {rank.name: rank.name for rank in contraction.free})
    last = contraction
    while last.name in readers and last.name not in outputs:
        reader = readers[last.name]
        longer = _extend(chain, last, reader, known)
        if longer is None:
            break
        chain, last = longer, reader
    plain = chain.affine.scale is None and isinstance(chain.affine.shift, Load | Cast | Constant | None)
    return None if plain else chain


def _extend(chain: _Chain, last: Einsum, reader: Einsum, known: Known) -> _Chain | None:
    reads = [load for load in loads(reader.expression) if load.tensor == last.name]
    if not reader.is_map or not reader.dtype.is_float or any(load != reads[0] for load in reads):
        return None
    names = [i.as_variable for i in reads[0].index]
    extents = {rank.name: rank.extent for rank in reader.free}
    if reads[0].outside is not None or set(names) != set(extents) or len(names) != len(extents):
        return None
    ranks = {}
    for name, rank in zip(names, last.free):
        if name is None or extents[name] != rank.extent:
            return None
        ranks[name] = chain.ranks[rank.name]
    affine = find_affine(reader.expression, reads[0], known)
    if affine is None:
        return None
    # Renaming goes through the contraction's ranks, of which none is a rank of the reader by accident: all change at once.
    mapping = {name: as_index(other) for name, other in ranks.items()}
    scale, shift = (None if e is None else substitute(e, mapping) for e in (affine.scale, affine.shift))
    before = chain.affine
    joined = Affine(_product(scale, before.scale), _sum(_scaled(before.shift, scale), shift))
    return _Chain((*chain.maps, reader), joined, ranks)


def find_affine(expression: Expr, y: Load, known: Known) -> Affine | None:
    """Write an expression as scale * y + shift with static coefficients; None if it is not affine in y."""
    if expression == y:
        return Affine()
    match expression:
        case Cast(dtype, argument) if dtype.is_float and dtype.bits <= known.wide.bits:
            return find_affine(argument, y, known)
        case Apply("neg", (argument,)):
            inner = find_affine(argument, y, known)
            return None if inner is None else Affine(_negative(inner.scale, known.wide), _negated(inner.shift))
        case Apply("add" | "sub" | "mul" | "div" as operator, (a, b)):
            left, right = find_affine(a, y, known), find_affine(b, y, known)
            if left is not None and right is not None:
                return _join(operator, left, right, known.wide)
            constant = _coefficient(a if left is None else b, known)
            if constant is None:
                return None
            if left is not None:
                return _with_right(operator, left, constant)
            return None if right is None else _with_left(operator, constant, right, known.wide)
        case _:
            return None


def _coefficient(part: Expr, known: Known) -> Expr | None:
    """A static expression as a coefficient; None if it is not static."""
    if not all(known.static[load.tensor] for load in loads(part)):
        return None
    return part if expression_dtype(part, known.dtypes) == known.wide else Cast(known.wide, part)


def _join(operator: str, left: Affine, right: Affine, wide: DType) -> Affine | None:
    """A sum or difference of two affine parts."""
    if operator not in ("add", "sub"):
        return None
    one = Constant(1.0, wide)
    shift = _sum(left.shift, right.shift if operator == "add" else _negated(right.shift))
    return Affine(apply(operator, left.scale or one, right.scale or one), shift)


def _with_right(operator: str, y: Affine, constant: Expr) -> Affine:
    """`y operator constant`."""
    match operator:
        case "add":
            return Affine(y.scale, _sum(y.shift, constant))
        case "sub":
            return Affine(y.scale, _sum(y.shift, apply("neg", constant)))
        case "mul":
            return Affine(_product(y.scale, constant), _scaled(y.shift, constant))
        case _:
            inverse = apply("reciprocal", constant)
            return Affine(_product(y.scale, inverse), None if y.shift is None else apply("div", y.shift, constant))


def _with_left(operator: str, constant: Expr, y: Affine, wide: DType) -> Affine | None:
    """`constant operator y`; None for a quotient, which is not affine in its divisor."""
    match operator:
        case "sub":
            return Affine(_negative(y.scale, wide), _sum(constant, _negated(y.shift)))
        case "div":
            return None
        case _:
            return _with_right(operator, y, constant)


def _negative(scale: Expr | None, wide: DType) -> Expr:
    return Constant(-1.0, wide) if scale is None else apply("neg", scale)


def _negated(shift: Expr | None) -> Expr | None:
    return None if shift is None else apply("neg", shift)


def _product(a: Expr | None, b: Expr | None) -> Expr | None:
    return b if a is None else a if b is None else apply("mul", a, b)


def _scaled(shift: Expr | None, scale: Expr | None) -> Expr | None:
    return shift if shift is None or scale is None else apply("mul", shift, scale)


def _sum(a: Expr | None, b: Expr | None) -> Expr | None:
    if b is not None and isinstance(b, Apply) and b.operator == "neg" and a is not None:
        return apply("sub", a, b.arguments[0])
    return b if a is None else a if b is None else apply("add", a, b)


def _find_weight(contraction: Einsum, scale: Expr | None, static: Mapping[str, bool]) -> Load | None:
    """The static factor of a contraction, if all the scale's ranks are whole dimensions of it."""
    for load in _factors(contraction.expression):
        bare = [i.as_variable for i in load.index]
        reaches = scale is None or all(bare.count(name) == 1 for name in variables(scale))
        if static[load.tensor] and load.outside is None and reaches:
            return load
    return None


def _factors(expression: Expr) -> list[Load]:
    """Loads that an expression is proportional to."""
    match expression:
        case Load():
            return [expression]
        case Cast(dtype, argument) if dtype.is_float and dtype.bits >= 32:
            return _factors(argument)
        case Apply("mul", (a, b)):
            return [*_factors(a), *_factors(b)]
        case _:
            return []


def _emit(contraction: Einsum, weight: Load, chain: _Chain, cascade: Cascade, taken: set[str]) -> tuple[Einsum, ...]:
    """The folded weights and shift, the contraction over them, and the last map."""
    last = chain.maps[-1]
    wide = contraction.dtype
    made: list[Einsum] = []
    folded = contraction
    if chain.affine.scale is not None:
        scaled = _scale_weight(contraction, weight, chain.affine.scale, cascade, taken)
        made.append(scaled)
        expression = _with_factor(contraction.expression, weight, Load(scaled.name, weight.index))
        folded = replace(contraction, expression=expression)
    back = {there: as_index(here) for here, there in chain.ranks.items()}
    shift = None if chain.affine.shift is None else substitute(chain.affine.shift, back)
    if shift is None and last.dtype == wide:
        ranks = {here: as_index(there) for here, there in chain.ranks.items()}
        index = tuple(substitute_index(i, ranks) for i in last.index)
        return *made, replace(folded, targets=last.targets, index=index, shape=last.shape)
    value: Expr = Load(contraction.name, tuple(back[rank.name] for rank in contraction.free))
    if isinstance(shift, Load):
        value = apply("add", value, shift)
    elif shift is not None:
        names = variables(shift)
        ranks_left = tuple(rank for rank in last.free if rank.name in names)
        name = fresh(f"{last.name}.shift", taken)
        made.append(_static_map(name, wide, ranks_left, shift, last))
        value = apply("add", value, Load(name, tuple(as_index(rank.name) for rank in ranks_left)))
    return *made, folded, replace(last, expression=value if last.dtype == wide else Cast(last.dtype, value))


def _scale_weight(contraction: Einsum, weight: Load, scale: Expr, cascade: Cascade, taken: set[str]) -> Einsum:
    """The static factor times the scale, of the factor's shape."""
    tensor = cascade.tensors()[weight.tensor]
    ranks = tuple(Rank(f"d{d}", extent) for d, extent in enumerate(tensor.shape))
    mapping: dict[str, Index] = {}
    for rank, i in zip(ranks, weight.index):
        if i.as_variable is not None:
            mapping.setdefault(i.as_variable, as_index(rank.name))
    element: Expr = Load(weight.tensor, tuple(as_index(rank.name) for rank in ranks))
    if tensor.dtype != contraction.dtype:
        element = Cast(contraction.dtype, element)
    value = apply("mul", element, substitute(scale, mapping))
    return _static_map(fresh(f"{weight.tensor}.scaled", taken), contraction.dtype, ranks, value, contraction)


def _static_map(name: str, dtype: DType, ranks: tuple[Rank, ...], value: Expr, origin: Einsum) -> Einsum:
    index = tuple(as_index(rank.name) for rank in ranks)
    return Einsum(((name, dtype),), index, tuple(rank.extent for rank in ranks), value, source=origin.source)


def _with_factor(expression: Expr, weight: Load, new: Load) -> Expr:
    """Replace one factor of a product, conversions included: the new one has the product's type."""
    match expression:
        case Apply("mul", (a, b)) if weight in _factors(a):
            return apply("mul", _with_factor(a, weight, new), b)
        case Apply("mul", (a, b)):
            return apply("mul", a, _with_factor(b, weight, new))
        case _:
            return new
