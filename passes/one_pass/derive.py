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
from tcomp.passes.einsums.group import Form, Group, OnePass


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


def find_one_pass(middle: Group, tail: Einsum, weights: str, dtypes: Mapping[str, DType]) -> OnePass | None:
    """How all reductions of a nest, and the sum that reads its result `weights`, split in one pass; None if one of them does not.

    `dtypes` are those of all tensors that the two read.
    """
    (inner,) = (r.name for r in middle.inner)
    maps = {e.name: e for e in middle.members if e.reduce is None}
    reduced = {e.name for e in middle.members if e.reduce is not None}
    search = _Search(inner, maps, reduced, dtypes, {})
    forms: list[Form] = []
    for einsum in middle.members:
        if einsum.reduce is None:
            continue
        if MONOIDS[einsum.reduce].arity > 1 or einsum.where is not None or einsum.reduce == "last":
            return None
        form = search.split(einsum, _inline(einsum.expression, maps))
        if form is None:
            return None
        forms.append(form)
    last = search.split_tail(tail, weights)
    return None if last is None else OnePass((*forms, last))


def read_one_pass(chain: Group, dtypes: Mapping[str, DType]) -> tuple[Running, ...]:
    """The one-pass forms of the reductions of a chain's nest, and of the sum that reads its result.

    `dtypes` are those of all tensors that these read.
    """
    assert isinstance(chain.fact, OnePass), f"the chain of {', '.join(chain.names)} is none in one pass"
    _, middle, last = chain.parts
    (weights,) = middle.stored
    maps = {e.name: e for e in middle.members if e.reduce is None}
    einsums = {e.name: e for e in middle.members if e.reduce is not None}
    *forms, tail = chain.fact.forms
    running = [_read(form, einsums[form.name], _inline(einsums[form.name].expression, maps)) for form in forms]
    return (*running, _read_tail(tail, last.root, weights, maps, dtypes))


def may_scale(chain: Group, form: Form) -> bool:
    """Whether the factors that a form multiplies in at the end are there, do not walk the rank of a chain's nest, and are not all."""
    _, middle, last = chain.parts
    (weights,), (inner,) = middle.stored, (r.name for r in middle.inner)
    maps = {e.name: e for e in middle.members if e.reduce is None}
    einsum = next((e for e in middle.members if e.name == form.name), None)
    term = _inline(_operands(last.root, weights)[0] if einsum is None else einsum.expression, maps)
    factors = [factor for factor, _ in _factors(_unguarded(term) if form.is_guarded else term)]
    is_there = all(place < len(factors) and inner not in variables(factors[place]) for place in form.scale)
    return is_there and len(form.scale) < len(factors)


def _unguarded(term: Expr) -> Expr:
    """What a select of 0 gives else."""
    term = _without_casts(term)
    assert isinstance(term, Apply) and term.operator == "select"
    return term.arguments[2]


def _read(form: Form, einsum: Einsum, term: Expr) -> Running:
    """A reduction whose terms are known to split so."""
    term = _unguarded(term) if form.is_guarded else term
    if form.reference is None and not form.scale:
        return Running(einsum, term)
    factors = _factors(term)
    core = [factor for place, factor in enumerate(factors) if place not in form.scale]
    scale = [factors[place] for place in form.scale]
    return Running(einsum, _multiply(core), form.reference, _multiply(scale) if scale else None, form.is_guarded)


def _read_tail(form: Form, tail: Einsum, weights: str, maps: Mapping[str, Einsum], dtypes: Mapping[str, DType]) -> Running:
    """The same of a sum of products of the nest's result and another operand, which is left as it is."""
    left, right = _operands(tail, weights)
    running = _read(form, tail, _inline(left, maps))
    core, wanted, narrow = running.core, _dtype(left, dtypes), maps[weights].dtype
    assert wanted is not None
    if narrow.is_float and narrow.bits < 32:
        # Multiplied as it would have been stored, so that tensor cores take it.
        core = _convert(_convert(core, _dtype(core, dtypes), narrow), narrow, wanted)
    return replace(running, core=apply("mul", core, right))


def _operands(tail: Einsum, weights: str) -> tuple[Expr, Expr]:
    """The operand of a product that reads the nest's result, and the other one."""
    assert isinstance(tail.expression, Apply)
    first, second = tail.expression.arguments
    return (first, second) if _reads(first, {weights}) else (second, first)


@dataclass(frozen=True, slots=True)
class _Search:
    """A nest whose reductions are split one after another; `found` has those that are, in one-pass form."""

    inner: str
    maps: Mapping[str, Einsum]
    reduced: set[str]
    dtypes: Mapping[str, DType]
    found: dict[str, Running]

    def split_tail(self, tail: Einsum, weights: str) -> Form | None:
        """How a sum of products of the nest's result and another operand splits."""
        product = tail.expression
        if not isinstance(product, Apply) or product.operator != "mul":
            return None
        left, right = _operands(tail, weights)
        form = self.split(tail, _inline(left, self.maps))
        is_typed = _dtype(left, self.dtypes) is not None
        return form if is_typed and not _reads(right, self.reduced | set(self.maps)) else None

    def split(self, einsum: Einsum, term: Expr) -> Form | None:
        """How one reduction splits; None if a factor of its term does not."""
        form = self._find_form(einsum, term)
        if form is not None:
            self.found[einsum.name] = _read(form, einsum, term)
        return form

    def _find_form(self, einsum: Einsum, term: Expr) -> Form | None:
        if not _reads(term, self.reduced):
            return Form(einsum.name)
        if einsum.reduce != "sum":
            return None
        match _without_casts(term):
            case Apply("select", (condition, zero, value)) if is_literal(zero, 0.0):
                return self._guard(self._find_form(einsum, value), condition, einsum, value)
        scale: list[int] = []
        references: list[str] = []
        factors = _factors(term)
        for place, (factor, divides) in enumerate(factors):
            if self.inner not in variables(factor):
                scale.append(place)
            elif _reads(factor, self.reduced):
                reference = None if divides else _find_reference(factor, self.found)
                if reference is None:
                    return None
                references.append(reference)
        if len(references) > 1 or len(scale) == len(factors):
            return None
        form = Form(einsum.name, next(iter(references), None), tuple(scale))
        return form if self._has_one_type(_read(form, einsum, term)) else None

    def _guard(self, form: Form | None, condition: Expr, einsum: Einsum, value: Expr) -> Form | None:
        """How what is 0 under a condition splits; None unless its terms are exponentials and the condition that all of them are 0."""
        if form is None or form.reference is None or form.is_guarded:
            return None
        is_exponential = _find_reference(_read(form, einsum, value).core, self.found) is not None
        return replace(form, is_guarded=True) if is_exponential and _is_least(condition, form.reference) else None

    def _has_one_type(self, running: Running) -> bool:
        """Whether terms, what corrects them and what scales their sum are of the type in which they are summed.

        Roundings between factors are left out, so that may no longer be.
        """
        dtypes = [_dtype(part, self.dtypes) for part in (running.core, running.scale) if part is not None]
        if running.reference is not None:
            dtypes.append(compute_dtype(self.found[running.reference].einsum.dtype))
        return all(dtype == compute_dtype(running.einsum.dtype) for dtype in dtypes)


def _dtype(expression: Expr, dtypes: Mapping[str, DType]) -> DType | None:
    """The type of an expression, None if its parts do not go together."""
    try:
        return expression_dtype(expression, dtypes)
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
