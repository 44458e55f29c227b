"""Indices in C: resolving an index at one point of a statement, and printing it as scalar or lane arithmetic.

At a point every unrolled axis has a number. The lane axis becomes its first element of this vector plus `LANE`, the lane number.
Values inside indices become variables `$0`, `$1`, ... that stand for code computed before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tcomp.codegen.c_tree import Binary, CExpression, Integer, Name, Unary, add, call
from tcomp.codegen.c_types import Value as CValue
from tcomp.codegen.c_types import broadcast, convert
from tcomp.ir.dtypes import DType, i32, i64
from tcomp.ir.expressions import (
    Atom,
    Expr,
    Index,
    Quotient,
    Remainder,
    Value,
    Variable,
    as_index,
    atom_index,
    index_variables,
    rebuild,
    substitute_index,
)
from tcomp.ir.index import Bounds, interval, simplify_index

LANE = "@"


@dataclass(frozen=True, slots=True)
class Resolved:
    """An index at one point, with the code of the values inside it."""

    index: Index
    values: Mapping[str, CValue]

    def is_lane_dependent(self, index: Index) -> bool:
        """Whether (a part of) the index differs between lanes."""
        return any(n == LANE or (n in self.values and self.values[n].is_vector) for n in index_variables(index))

    @property
    def stride(self) -> Index | None:
        """What one lane adds if that is the same for all lanes and loaded values play no part; zero if lanes do not matter."""
        total = as_index(0)
        for monomial, coefficient in self.index.terms:
            if not self.is_lane_dependent(Index(((monomial, coefficient),), 0)):
                continue
            rest = list(monomial)
            if Variable(LANE) not in rest:
                return None
            rest.remove(Variable(LANE))
            factor = as_index(coefficient)
            for atom in rest:
                factor = factor * atom_index(atom)
            if self.is_lane_dependent(factor):
                return None
            total = total + factor
        return total

    def split(self) -> tuple[Index, Index]:
        """The part that is the same for all lanes, and the part that is not."""
        varying = tuple(t for t in self.index.terms if self.is_lane_dependent(Index((t,), 0)))
        same = tuple(t for t in self.index.terms if t not in varying)
        return Index(same, self.index.constant), Index(varying, 0)


def resolve(index: Index, point: Mapping[str, Index], bounds: Bounds, compute: Callable[[Expr], CValue]) -> Resolved:
    """Resolve an index at a point; `compute` gives the code of the values inside it."""
    values: dict[str, CValue] = {}
    if all(isinstance(atom, Variable) for monomial, _ in index.terms for atom in monomial):
        return Resolved(substitute_index(index, dict(point)), values)

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

    return Resolved(simplify_index(rebuild(index, change), bounds), values)


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
    resolved = Resolved(index, values)
    scalars = {name: value.code for name, value in values.items() if not value.is_vector}
    suffix = f"v{dtype}"

    def whole(part: Index) -> CExpression:
        if resolved.is_lane_dependent(part):
            return sum_terms(part, factor)
        return scalar_code(part, names, bounds, scalars)

    def factor(atom: Atom) -> CExpression:
        if not resolved.is_lane_dependent(atom_index(atom)):
            code = scalar_code(atom_index(atom), names, bounds, scalars)
            return call("tcomp_broadcast_vi64", code) if dtype == i64 else call("tcomp_broadcast_vi32", code)
        match atom:
            case Variable(name) if name == LANE:
                return call(f"tcomp_iota_{suffix}")
            case Variable(name):
                return convert(values[name], dtype).code
            case Quotient(a, b) | Remainder(a, b):
                is_quotient = isinstance(atom, Quotient)
                left = broadcast(CValue(whole(a), dtype, resolved.is_lane_dependent(a))).code
                if is_natural(a, b, bounds) and b.is_constant:
                    return Binary("/" if is_quotient else "%", left, Integer(b.constant))
                right = broadcast(CValue(whole(b), dtype, resolved.is_lane_dependent(b))).code
                return call(f"tcomp_{'floor_divide' if is_quotient else 'remainder'}_{suffix}", left, right)
            case Value():
                raise AssertionError("values are resolved before an index is printed")

    return broadcast(CValue(sum_terms(index, factor), dtype, resolved.is_lane_dependent(index)))
