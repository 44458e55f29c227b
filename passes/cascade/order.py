"""Contract products of three or more factors pair by pair, in the order that opt_einsum finds.

    Y: f32[i:64, l:64] = sum(j:64, k:8) A[i, j] * B[j, k] * C[k, l]
      =>
    Y.1: f32[i:64, k:8] = sum(j:64) A[i, j] * B[j, k]
    Y: f32[i:64, l:64] = sum(k:8) C[k, l] * Y.1[i, k]

A factor may be any expression: what counts is which ranks it varies over. Products are reassociated and sums distributed over
them, which changes roundings, so this runs only where numerics need not be strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import prod

try:
    import opt_einsum
except ImportError:
    # A checkout on a machine that has PyTorch alone: products stay as they are written.
    opt_einsum = None

from tcomp.ir.cascade import Cascade, Einsum, Statement
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.expressions import Apply, Expr, Load, apply, as_index
from tcomp.ir.names import numbered, take
from tcomp.ir.walk import loads, variables
from tcomp.passes.cost.sizes import typical


@dataclass(frozen=True, slots=True)
class _Factor:
    """A factor of the product and the einsum's ranks it varies over."""

    expression: Expr
    ranks: frozenset[str]


def order_contractions(cascade: Cascade) -> Cascade:
    """Split sums of products of three or more factors where that saves work; the same cascade if it saves none."""
    statements: list[Statement] = []
    taken = set(cascade.tensors())
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    for statement in cascade.statements:
        if isinstance(statement, Einsum):
            statements += split_contraction(statement, dtypes, taken)
        else:
            statements.append(statement)
    return cascade.with_statements(tuple(statements))


def split_contraction(einsum: Einsum, dtypes: Mapping[str, DType], taken: set[str]) -> tuple[Einsum, ...]:
    """The pairwise contractions that make up an einsum, itself last; the einsum alone if it is none or is best as it is."""
    if opt_einsum is None or einsum.reduce != "sum" or einsum.is_scatter or einsum.where is not None:
        return (einsum,)
    parts = _factors(einsum.expression)
    if sum(1 for part in parts if loads(part)) < 3:
        return (einsum,)
    names = {rank.name for rank in einsum.ranks}
    factors = [_Factor(e, frozenset(variables(e) & names)) for e in parts]
    dtype = expression_dtype(einsum.expression, dtypes)
    if compute_dtype(dtype) != dtype:
        return (einsum,)
    path = find_path(einsum, factors)
    if path is None:
        return (einsum,)
    made: list[Einsum] = []
    for pair in path[:-1]:
        if len(pair) == 1 and not _is_summed(einsum, pair[0], factors):
            factors.append(factors.pop(pair[0]))
            continue
        joined = [factors[p] for p in pair]
        factors = [f for p, f in enumerate(factors) if p not in pair]
        made.append(_contract_pair(einsum, joined, factors, take(numbered(einsum.name), taken), dtype))
        index = tuple(as_index(rank.name) for rank in made[-1].free)
        factors.append(_Factor(Load(made[-1].name, index), frozenset(rank.name for rank in made[-1].free)))
    present = frozenset[str]().union(*(f.ranks for f in factors))
    # A reduced rank that no remaining factor has was summed on the way; one that never appeared multiplies by its extent.
    summed = {rank.name for e in made for rank in e.reduced}
    reduced = tuple(rank for rank in einsum.reduced if rank.name in present or rank.name not in summed)
    return *made, replace(einsum, expression=_product(factors), reduce="sum" if reduced else None, reduced=reduced)


def find_path(einsum: Einsum, factors: list[_Factor]) -> list[tuple[int, ...]] | None:
    """opt_einsum's order of contractions, of pairs or of single factors; None if the whole product at once takes no more operations."""
    symbols = {rank.name: opt_einsum.get_symbol(p) for p, rank in enumerate(einsum.ranks)}
    sizes = {rank.name: typical(rank.extent) for rank in einsum.ranks}
    present = frozenset[str]().union(*(f.ranks for f in factors))
    terms = ["".join(symbols[r.name] for r in einsum.ranks if r.name in f.ranks) for f in factors]
    output = "".join(symbols[r.name] for r in einsum.free if r.name in present)
    shapes = [tuple(sizes[r.name] for r in einsum.ranks if r.name in f.ranks) for f in factors]
    # "optimal" is not: for ij,j,jk it scales the larger matrix. Dynamic programming finds the cheaper order.
    path, _ = opt_einsum.contract_path(f"{','.join(terms)}->{output}", *shapes, shapes=True, optimize="dp")
    whole = prod(sizes[name] for name in present) * len(factors)
    return list(path) if _operations(einsum, factors, path, sizes) < whole else None


def _operations(einsum: Einsum, factors: list[_Factor], path: list[tuple[int, ...]], sizes: Mapping[str, int]) -> int:
    """Multiplications and additions of a path."""
    total = 0
    free = frozenset(rank.name for rank in einsum.free)
    left = [f.ranks for f in factors]
    for pair in path:
        joined = frozenset[str]().union(*(left[p] for p in pair))
        left = [ranks for p, ranks in enumerate(left) if p not in pair]
        kept = joined & free.union(*left)
        total += prod(sizes[name] for name in joined) * (2 if joined - kept else 1)
        left.append(kept)
    return total


def _is_summed(einsum: Einsum, position: int, factors: list[_Factor]) -> bool:
    """Whether a factor has a rank that neither the result nor another factor has."""
    others = (f.ranks for p, f in enumerate(factors) if p != position)
    return bool(factors[position].ranks - frozenset(rank.name for rank in einsum.free).union(*others))


def _contract_pair(einsum: Einsum, joined: list[_Factor], others: list[_Factor], name: str, dtype: DType) -> Einsum:
    """Multiply two factors (or take one) and sum over the ranks that nothing else needs."""
    present = frozenset[str]().union(*(f.ranks for f in joined))
    needed = frozenset(rank.name for rank in einsum.free).union(*(f.ranks for f in others))
    kept = tuple(rank for rank in einsum.ranks if rank.name in present & needed)
    reduced = tuple(rank for rank in einsum.reduced if rank.name in present - needed)
    return Einsum(
        ((name, dtype),),
        tuple(as_index(rank.name) for rank in kept),
        tuple(rank.extent for rank in kept),
        _product(joined),
        "sum" if reduced else None,
        reduced,
        source=einsum.source,
    )


def _product(factors: list[_Factor]) -> Expr:
    first, *rest = (f.expression for f in factors)
    return reduce(lambda a, b: apply("mul", a, b), rest, first)


def _factors(expression: Expr) -> list[Expr]:
    """The factors of nested products, from left to right."""
    match expression:
        case Apply("mul", (a, b)):
            return [*_factors(a), *_factors(b)]
        case _:
            return [expression]
