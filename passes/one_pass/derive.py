"""Derive one-pass forms: reductions that depend on earlier reductions over the same rank become running ones with a correction.

    G[p] = max(m) S[p, m]; D[p] = sum(m) exp(S[p, m] - G[p]); Z[p, f] = sum(m) exp(S[p, m] - G[p]) / D[p] * V[m, f]
      =>
    G running; D <- D * exp(G' - G) + ...; Z <- Z * exp(G' - G) + ..., and after the last m: Z / D

A reduction op(m) F(x, d), d being earlier results, is incremental if F splits into a part of x and a part of d. What is written here as
a product splits factor by factor:

    without m                                   deferred: multiplied in after the reduction
    without d                                   part of every term
    exp(a - d)     a without d, d = max(m) a    exp(a - d'), and what was summed so far is scaled by exp(d' - d) when d moves

A select of 0 where d is -inf, so that rows without any finite a give 0, is left to the end: there all terms are 0 if 0 is subtracted.

so a - d is never above zero and no correction above one: rounding errors are not amplified. Every other factor refuses, and so does a
second one with d. Sums alone take factors with d, of the type that they are added in. After Nayak et al. (FuseMax, MICRO 2024); the
conditions are those of RedFuser (ASPLOS 2026).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tcomp.ir.cascade import Einsum
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Apply, Cast, Expr, Load, apply
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.walk import loads, map_load_indices, map_loads, variables
from tcomp.passes.cascade.rules.rule import is_literal
from tcomp.passes.einsums.group import Group


@dataclass(frozen=True, slots=True)
class Running:
    """A reduction in one-pass form.

    `core` is one term, in which a load of `reference` stands for that reduction's running value; `scale` is multiplied in at the end,
    except, with `is_guarded`, where the reference is -inf.
    """

    einsum: Einsum
    core: Expr
    reference: str | None = None
    scale: Expr | None = None
    is_guarded: bool = False


def find_one_pass(
    middle: Group, tail: Einsum, weights: str, dtypes: Mapping[str, DType]
) -> tuple[Running, ...] | None:
    """One-pass forms of all reductions of a nest and of the sum that reads its result `weights`; None if one of them has none.

    `dtypes` are those of all tensors that the two read.
    """
    (inner,) = (r.name for r in middle.inner)
    maps = {e.name: e for e in middle.members if e.reduce is None}
    reduced = {e.name for e in middle.members if e.reduce is not None}
    search = _Search(inner, maps, reduced, dtypes, {})
    for einsum in middle.members:
        if einsum.reduce is None:
            continue
        if MONOIDS[einsum.reduce].arity > 1 or einsum.where is not None or einsum.reduce == "last":
            return None
        running = search.derive(einsum, _inline(einsum.expression, maps))
        if running is None:
            return None
        search.found[einsum.name] = running
    last = search.derive_tail(tail, weights)
    return None if last is None else (*search.found.values(), last)


@dataclass(frozen=True, slots=True)
class _Search:
    """A nest whose reductions are brought into one-pass form one after another; `found` has those that are."""

    inner: str
    maps: Mapping[str, Einsum]
    reduced: set[str]
    dtypes: Mapping[str, DType]
    found: dict[str, Running]

    def derive_tail(self, tail: Einsum, weights: str) -> Running | None:
        """The form of a sum of products of the nest's result and another operand, which is left as it is."""
        product = tail.expression
        if not isinstance(product, Apply) or product.operator != "mul":
            return None
        left, right = (product.arguments[k] for k in ((0, 1) if _reads(product.arguments[0], {weights}) else (1, 0)))
        running = self.derive(tail, _inline(left, self.maps))
        if running is None or _reads(right, self.reduced | set(self.maps)):
            return None
        core, wanted, narrow = running.core, self._dtype(left), self.maps[weights].dtype
        if wanted is None:
            return None
        if narrow.is_float and narrow.bits < 32:
            # Multiplied as it would have been stored, so that tensor cores take it.
            core = _convert(_convert(core, self._dtype(core), narrow), narrow, wanted)
        return replace(running, core=apply("mul", core, right))

    def derive(self, einsum: Einsum, term: Expr) -> Running | None:
        """The form of one reduction; None if a factor of its term does not split."""
        if not _reads(term, self.reduced):
            return Running(einsum, term)
        if einsum.reduce != "sum":
            return None
        match _without_casts(term):
            case Apply("select", (condition, zero, value)) if is_literal(zero, 0.0):
                return self._guard(self.derive(einsum, value), condition)
        core: list[tuple[Expr, bool]] = []
        scale: list[tuple[Expr, bool]] = []
        references: list[str] = []
        for factor, divides in _factors(term):
            if self.inner not in variables(factor):
                scale.append((factor, divides))
            elif not _reads(factor, self.reduced):
                core.append((factor, divides))
            else:
                reference = None if divides else _find_reference(factor, self.found)
                if reference is None:
                    return None
                references.append(reference)
                core.append((factor, divides))
        if len(references) > 1 or not core:
            return None
        running = Running(einsum, _multiply(core), next(iter(references), None), _multiply(scale) if scale else None)
        return running if self._has_one_type(running) else None

    def _guard(self, running: Running | None, condition: Expr) -> Running | None:
        """The form of what is 0 under a condition; None unless its terms are exponentials and the condition that all of them are 0."""
        if running is None or running.reference is None or running.is_guarded or _find_reference(running.core, self.found) is None:
            return None
        return replace(running, is_guarded=True) if _is_least(condition, running.reference) else None

    def _has_one_type(self, running: Running) -> bool:
        """Whether terms, what corrects them and what scales their sum are of the type in which they are summed.

        Roundings between factors are left out, so that may no longer be.
        """
        dtypes = [self._dtype(part) for part in (running.core, running.scale) if part is not None]
        if running.reference is not None:
            dtypes.append(compute_dtype(self.found[running.reference].einsum.dtype))
        return all(dtype == compute_dtype(running.einsum.dtype) for dtype in dtypes)

    def _dtype(self, expression: Expr) -> DType | None:
        """The type of an expression, None if its parts do not go together."""
        try:
            return expression_dtype(expression, self.dtypes)
        except VerifyError:
            return None


def _convert(value: Expr, dtype: DType | None, wanted: DType) -> Expr:
    return value if dtype == wanted else Cast(wanted, value)


def _find_reference(factor: Expr, found: Mapping[str, Running]) -> str | None:
    """The maximum d in exp(a - d), if d is the maximum of a."""
    if not isinstance(factor, Apply) or factor.operator != "exp":
        return None
    difference = _without_casts(factor.arguments[0])
    if not isinstance(difference, Apply) or difference.operator != "sub":
        return None
    value, reference = (_without_casts(a) for a in difference.arguments)
    if not isinstance(reference, Load) or reference.tensor not in found:
        return None
    running = found[reference.tensor]
    is_maximum = running.einsum.reduce == "max" and running.reference is None and _without_casts(running.core) == value
    return reference.tensor if is_maximum else None


def _is_least(condition: Expr, name: str, is_equal: bool = True) -> bool:
    """Whether a condition is that a tensor is -inf, or with `is_equal` false that it is not."""
    match condition:
        case Apply("not", (argument,)):
            return _is_least(argument, name, not is_equal)
        case Apply("eq" | "ne" as operator, (value, limit)) if is_literal(limit, -math.inf):
            load = _without_casts(value)
            return (operator == "eq") == is_equal and isinstance(load, Load) and load.tensor == name
    return False


def _factors(term: Expr) -> tuple[tuple[Expr, bool], ...]:
    """The factors of products and quotients, roundings between them left out."""
    bare = _without_casts(term)
    if isinstance(bare, Apply) and bare.operator in ("mul", "div"):
        left, right = (_factors(a) for a in bare.arguments)
        return (*left, *((factor, divides != (bare.operator == "div")) for factor, divides in right))
    # What an operator computes is wide, and conversions around it only round; a tensor is as wide as it is stored.
    return ((bare if isinstance(bare, Apply) else term, False),)


def _multiply(factors: list[tuple[Expr, bool]]) -> Expr:
    (first, divides), *rest = sorted(factors, key=lambda pair: pair[1])
    product: Expr = apply("reciprocal", first) if divides else first
    for factor, inverse in rest:
        product = apply("div" if inverse else "mul", product, factor)
    return product


def _without_casts(expression: Expr) -> Expr:
    while isinstance(expression, Cast) and expression.dtype.is_float:
        expression = expression.argument
    return expression


def _inline(expression: Expr, maps: Mapping[str, Einsum]) -> Expr:
    """Read maps of the group through."""

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        made = maps.get(load.tensor)
        return load if made is None else map_loads(made.expression, read)

    return map_loads(expression, read)


def _reads(expression: Expr, names: set[str]) -> bool:
    return any(load.tensor in names for load in loads(expression))
