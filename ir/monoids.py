"""The reduction operators, one table: each a monoid with a state of one or more components.

A monoid is written in the IR's own expressions over the names `x` (the element), `i` (its position along the reduced ranks, row
major), `a.0, a.1, ...` and `b.0, b.1, ...` (two states): `lift` makes a state of an element, `merge` joins two, `identity` is the
state of nothing. So the evaluator and both code generators need no knowledge of any monoid. `merge` is associative; it is
commutative for all but `last`, whose later element wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tcomp.ir.dtypes import DType, compute_dtype, i64
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, Number, Ordinal, apply, as_index, constant

Component = Literal["element", "i64"]


@dataclass(frozen=True, slots=True)
class Monoid:
    """A named monoid. `components` gives the dtype of each state component: that of the element, or i64."""

    name: str
    components: tuple[Component, ...]
    operator: str | None
    """The binary operator that merges a one-component state, else None."""
    types: str
    """Which element dtypes it takes, as in `tcomp.ir.operators`."""

    @property
    def arity(self) -> int:
        """How many components a state has, and so how many targets a reduction."""
        return len(self.components)

    def state_dtypes(self, element: DType) -> tuple[DType, ...]:
        """Dtypes of the state in which folding happens (narrow floats fold in f32)."""
        wide = compute_dtype(element)
        return tuple(i64 if c == "i64" else wide for c in self.components)

    def identity(self, element: DType) -> tuple[Constant, ...]:
        """The state of an empty reduction."""
        return tuple(constant(v, t) for v, t in zip(_identity(self.name, element), self.state_dtypes(element)))

    def lift(self, element: Expr, position: Expr, dtype: DType) -> tuple[Expr, ...]:
        """The state of one element of `dtype` at a position."""
        wide = compute_dtype(dtype)
        value = element if wide == dtype else Cast(wide, element)
        match self.name:
            case "argmax" | "argmin":
                return value, position
            case "welford":
                # NaN for an infinity, which would else give a mean that depends on the order; torch's variance is NaN too.
                deviation = apply("sub", value, value)
                return apply("add", value, deviation), deviation, constant(1.0, wide)
            case "logsumexp":
                return value, constant(1.0, wide)
            case _:
                return (value,)

    def merge(self, a: tuple[Expr, ...], b: tuple[Expr, ...], dtype: DType) -> tuple[Expr, ...]:
        """The state of both parts, as expressions over the components of two states; `a` comes first in the order."""
        wide = compute_dtype(dtype)
        match self.name:
            case "argmax" | "argmin":
                return _merge_position(a, b, "gt" if self.name == "argmax" else "lt", dtype)
            case "welford":
                return _merge_welford(a, b, wide)
            case "logsumexp":
                return _merge_logsumexp(a, b, wide)
            case "last":
                return (b[0],)
            case _:
                assert self.operator is not None
                return (apply(self.operator, a[0], b[0]),)

    def across(self, lanes: tuple[Expr, ...], totals: tuple[Expr, ...], dtype: DType) -> tuple[tuple[int, str, Expr], ...]:
        """How states that lie side by side become one: (component, monoid, expression) in the order in which they are folded.

        `lanes` are the components of one of the states; an expression may use `totals`, of components that come before its own.
        """
        wide = compute_dtype(dtype)
        match self.name:
            case "argmax" | "argmin":
                best: Expr = apply("eq", lanes[0], totals[0])
                if dtype.is_float:
                    best = apply("or", best, apply("isnan", lanes[0]))
                position = apply("select", best, lanes[1], constant(2**63 - 1, i64))
                return (0, self.name[3:], lanes[0]), (1, "min", position)
            case "welford":
                share = apply("div", lanes[2], apply("maximum", totals[2], constant(1.0, wide)))
                away = apply("sub", lanes[0], totals[0])
                deviations = apply("add", lanes[1], apply("mul", apply("mul", away, away), lanes[2]))
                return (2, "sum", lanes[2]), (0, "sum", apply("mul", lanes[0], share)), (1, "sum", deviations)
            case "logsumexp":
                dead = apply("eq", totals[0], constant(-math.inf, wide))
                away = apply("sub", lanes[0], apply("select", dead, constant(0.0, wide), totals[0]))
                return (0, "max", lanes[0]), (1, "sum", apply("mul", lanes[1], apply("exp", away)))
            case _:
                return ((0, self.name, lanes[0]),)


def _identity(name: str, element: DType) -> tuple[Number, ...]:
    lowest: Number = -math.inf
    highest: Number = math.inf
    if element.kind == "int":
        lowest = -(2 ** (element.bits - 1)) if element.signed else 0
        highest = 2 ** (element.bits - 1) - 1 if element.signed else 2**element.bits - 1
    elif element.kind == "bool":
        lowest, highest = False, True
    identities: dict[str, tuple[Number, ...]] = {
        "sum": (0,),
        "prod": (1,),
        "max": (lowest,),
        "min": (highest,),
        "any": (False,),
        "all": (True,),
        "xor": (0,),
        "last": (0,),
        "argmax": (lowest, 2**63 - 1),
        "argmin": (highest, 2**63 - 1),
        "welford": (0, 0, 0),
        "logsumexp": (lowest, 0),
    }
    return identities[name]


def _merge_position(a: tuple[Expr, ...], b: tuple[Expr, ...], better: str, dtype: DType) -> tuple[Expr, ...]:
    """The better value wins, NaN over everything, the lower position among equals."""
    b_wins: Expr = apply(better, b[0], a[0])
    tie: Expr = apply("eq", a[0], b[0])
    if dtype.is_float:
        a_nan, b_nan = apply("isnan", a[0]), apply("isnan", b[0])
        tie = apply("or", tie, apply("and", a_nan, b_nan))
        b_wins = apply("or", b_wins, apply("and", b_nan, apply("not", a_nan)))
    b_wins = apply("or", b_wins, apply("and", tie, apply("lt", b[1], a[1])))
    return apply("select", b_wins, b[0], a[0]), apply("select", b_wins, b[1], a[1])


def _merge_welford(a: tuple[Expr, ...], b: tuple[Expr, ...], wide: DType) -> tuple[Expr, ...]:
    """Chan, Golub and LeVeque 1979: (mean, sum of squared deviations, count)."""
    count = apply("add", a[2], b[2])
    share = apply("div", b[2], apply("maximum", count, constant(1.0, wide)))
    delta = apply("sub", b[0], a[0])
    mean = apply("add", a[0], apply("mul", delta, share))
    deviations = apply("add", apply("add", a[1], b[1]), apply("mul", apply("mul", delta, delta), apply("mul", a[2], share)))
    return mean, deviations, count


def _merge_logsumexp(a: tuple[Expr, ...], b: tuple[Expr, ...], wide: DType) -> tuple[Expr, ...]:
    """(m, s) stands for m + log(s), with s = sum(exp(x - m)): a row of nothing but -inf keeps s finite, +inf makes it NaN."""
    top = apply("maximum", a[0], b[0])
    dead = apply("eq", top, constant(-math.inf, wide))
    reference = apply("select", dead, constant(0.0, wide), top)

    def scaled(state: tuple[Expr, ...]) -> Apply:
        return apply("mul", state[1], apply("exp", apply("sub", state[0], reference)))

    return top, apply("add", scaled(a), scaled(b))


_ROWS = [
    Monoid("sum", ("element",), "add", "number"),
    Monoid("prod", ("element",), "mul", "number"),
    Monoid("max", ("element",), "maximum", "any"),
    Monoid("min", ("element",), "minimum", "any"),
    Monoid("any", ("element",), "or", "bool"),
    Monoid("all", ("element",), "and", "bool"),
    Monoid("xor", ("element",), "xor", "bits"),
    Monoid("last", ("element",), None, "any"),
    Monoid("argmax", ("element", "i64"), None, "any"),
    Monoid("argmin", ("element", "i64"), None, "any"),
    Monoid("welford", ("element", "element", "element"), None, "float"),
    Monoid("logsumexp", ("element", "element"), None, "float"),
]

MONOIDS: dict[str, Monoid] = {row.name: row for row in _ROWS}


def position_of(ranks: Iterable[tuple[str, Index]]) -> Ordinal:
    """The row-major position along reduced ranks given as (name, extent), as an i64 value."""
    total = as_index(0)
    for name, extent in ranks:
        total = total * extent + as_index(name)
    return Ordinal(total, i64)


def state_names(prefix: str, arity: int) -> tuple[Load, ...]:
    """The components of a state as loads of scalars `prefix.0`, `prefix.1`, ..."""
    return tuple(Load(f"{prefix}.{k}", ()) for k in range(arity))

