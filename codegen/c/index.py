"""Indices in C: resolving an index at one point of a statement, and printing it as scalar or lane arithmetic.

At a point every unrolled axis has a number. The lane axis becomes its first element of this vector plus `LANE`, the lane number.
Values inside indices become variables `$0`, `$1`, ... that stand for code computed before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tcomp.codegen.c.tree import Binary, CExpression, Integer, Name, Unary, add, call
from tcomp.codegen.c.types import Value as CValue
from tcomp.codegen.c.types import broadcast, convert
from tcomp.ir.dtypes import DType, i32, i64
from tcomp.ir.expressions import ZERO, Atom, Expr, Index, Monomial, Quotient, Remainder, Value, Variable, as_index, atom_index
from tcomp.ir.index import Bounds, interval, simplify_index
from tcomp.ir.walk import index_variables, rebuild

LANE = "@"
NOTHING: Mapping[str, CValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Resolved:
    """An index at one point: the part that is the same in all lanes, the part that is not, and the code of the values in them.

    `stride` is what one lane adds where that is the same for all lanes and loaded values play no part: zero if lanes do not matter,
    None if there is no one stride.
    """

    same: Index
    varying: Index
    stride: Index | None
    values: Mapping[str, CValue]

    @property
    def index(self) -> Index:
        """The whole index."""
        return self.same + self.varying

    @property
    def has_lanes(self) -> bool:
        """Whether it differs between lanes."""
        return bool(self.varying.terms)

    @property
    def scalars(self) -> dict[str, CExpression]:
        """The code of the values inside."""
        return {name: value.code for name, value in self.values.items()}


@dataclass(frozen=True, slots=True)
class LinearIndex:
    """An index as a sum of axes with integer coefficients and a rest without axes: quick to resolve, and nearly all are."""

    rest: Index
    coefficients: tuple[tuple[str, int], ...]

    def resolve(self, at: Mapping[str, int], lane: str | None) -> Resolved:
        """The index at a point."""
        constant, step = self.rest.constant, 0
        for axis, coefficient in self.coefficients:
            constant += coefficient * at[axis]
            if axis == lane:
                step = coefficient
        varying = Index((((Variable(LANE),), step),), 0) if step else ZERO
        return Resolved(Index(self.rest.terms, constant), varying, as_index(step), {})


def linear_index(index: Index, axes: frozenset[str]) -> LinearIndex | None:
    """The linear form of an index in some axes; None if it has none, or if quotients in it may simplify at a point."""
    rest: list[tuple[Monomial, int]] = []
    coefficients: list[tuple[str, int]] = []
    for monomial, coefficient in index.terms:
        if not all(isinstance(atom, Variable) for atom in monomial):
            return None
        names = [atom.name for atom in monomial if isinstance(atom, Variable)]
        if not axes.intersection(names):
            rest.append((monomial, coefficient))
        elif len(names) == 1:
            coefficients.append((names[0], coefficient))
        else:
            return None
    return LinearIndex(Index(tuple(rest), index.constant), tuple(coefficients))


def resolve(
    index: Index,
    point: Mapping[str, Index],
    bounds: Bounds,
    compute: Callable[[Expr], CValue],
    known: Mapping[str, CValue] = NOTHING,
) -> Resolved:
    """Resolve an index at a point; `compute` gives the code of the values inside it, `known` that of variables which are values."""
    values = dict(known)

    def change(atom: Atom) -> Index:
        match atom:
            case Value(expression):
                name = f"${len(values)}"
                values[name] = compute(expression)
                return as_index(name)
            case Quotient(a, b):
                return rebuild(a, change) // rebuild(b, change)
            case Remainder(a, b):
                return rebuild(a, change) % rebuild(b, change)
            case Variable(name):
                return point.get(name, atom_index(atom))

    found = simplify_index(rebuild(index, change), bounds)
    varying = tuple(t for t in found.terms if is_lane_dependent(Index((t,), 0), values))
    same = tuple(t for t in found.terms if t not in varying)
    return Resolved(Index(same, found.constant), Index(varying, 0), _find_stride(varying, values), values)


def is_lane_dependent(index: Index, values: Mapping[str, CValue]) -> bool:
    """Whether an index differs between lanes."""
    return any(n == LANE or (n in values and values[n].is_vector) for n in index_variables(index))


def _find_stride(varying: tuple[tuple[Monomial, int], ...], values: Mapping[str, CValue]) -> Index | None:
    total = ZERO
    for monomial, coefficient in varying:
        rest = list(monomial)
        if Variable(LANE) not in rest:
            return None
        rest.remove(Variable(LANE))
        factor = as_index(coefficient)
        for atom in rest:
            factor = factor * atom_index(atom)
        if is_lane_dependent(factor, values):
            return None
        total = total + factor
    return total


def sum_terms(index: Index, factor: Callable[[Atom], CExpression]) -> CExpression:
    """Print a polynomial: positive terms, then negative ones, then the constant."""
    total: CExpression = Integer(0)
    for monomial, coefficient in sorted(index.terms, key=lambda term: term[1] < 0):
        first = total == Integer(0)
        scale = coefficient if first else abs(coefficient)
        factors = [factor(atom) for atom in monomial]
        product: CExpression = factors[0] if abs(scale) == 1 else Binary("*", Integer(scale), factors[0])
        product = Unary("-", product) if scale == -1 else product
        for other in factors[1:]:
            product = Binary("*", product, other)
        total = product if first else Binary("-" if coefficient < 0 else "+", total, product)
    return Integer(index.constant) if total == Integer(0) else add(total, Integer(index.constant))


def scalar_code(
    index: Index,
    names: Mapping[str, str],
    bounds: Bounds,
    values: Mapping[str, CExpression] | None = None,
) -> CExpression:
    """Print an index as int64_t arithmetic; `values` gives the code of the variables that are not in `names`."""

    def factor(atom: Atom) -> CExpression:
        match atom:
            case Variable(name):
                return values[name] if values and name in values else Name(names[name])
            case Quotient(a, b) | Remainder(a, b):
                left, right = sum_terms(a, factor), sum_terms(b, factor)
                is_quotient = isinstance(atom, Quotient)
                if is_natural(a, b, bounds):
                    return Binary("/" if is_quotient else "%", left, right)
                return call("tcomp_floor_divide_i64" if is_quotient else "tcomp_remainder_i64", left, right)
            case Value():
                raise AssertionError("values are resolved before an index is printed")

    return sum_terms(index, factor)


def is_natural(a: Index, b: Index, bounds: Bounds) -> bool:
    """Whether C's division, which rounds to zero, is floor division here."""
    low, divisor = interval(a, bounds)[0], interval(b, bounds)[0]
    return low is not None and low >= 0 and divisor is not None and divisor > 0


def lane_dtype(index: Index, values: Mapping[str, CValue], bounds: Bounds) -> DType:
    """The integer type in which lanes of an index are computed: i32 where it is proved to suffice."""
    if any(value.is_vector for value in values.values()):
        return i64
    parts = [index, *(part for m, _ in index.terms for a in m if isinstance(a, (Quotient, Remainder)) for part in (a.numerator,))]
    for part in parts:
        low, high = interval(part, bounds)
        if low is None or high is None or low < -(2**31) or high >= 2**31:
            return i64
    return i32


def lane_code(index: Index, names: Mapping[str, str], bounds: Bounds, values: Mapping[str, CValue], dtype: DType) -> CValue:
    """Print an index as arithmetic on lanes of an integer type."""
    scalars = {name: value.code for name, value in values.items() if not value.is_vector}
    suffix = f"v{dtype}"

    def whole(part: Index) -> CExpression:
        if is_lane_dependent(part, values):
            return sum_terms(part, factor)
        return scalar_code(part, names, bounds, scalars)

    def factor(atom: Atom) -> CExpression:
        if not is_lane_dependent(atom_index(atom), values):
            code = scalar_code(atom_index(atom), names, bounds, scalars)
            return call("tcomp_broadcast_vi64", code) if dtype == i64 else call("tcomp_broadcast_vi32", code)
        match atom:
            case Variable(name) if name == LANE:
                return call(f"tcomp_iota_{suffix}")
            case Variable(name):
                return convert(values[name], dtype).code
            case Quotient(a, b) | Remainder(a, b):
                is_quotient = isinstance(atom, Quotient)
                left = broadcast(CValue(whole(a), dtype, is_lane_dependent(a, values))).code
                if is_natural(a, b, bounds) and b.is_constant:
                    return Binary("/" if is_quotient else "%", left, Integer(b.constant))
                right = broadcast(CValue(whole(b), dtype, is_lane_dependent(b, values))).code
                return call(f"tcomp_{'floor_divide' if is_quotient else 'remainder'}_{suffix}", left, right)
            case Value():
                raise AssertionError("values are resolved before an index is printed")

    return broadcast(CValue(sum_terms(index, factor), dtype, is_lane_dependent(index, values)))
