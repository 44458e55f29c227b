"""How far a cascade's results may be from exact ones: running error analysis, as a cascade.

Beside every tensor T stands `T~`, a bound on the error of each of its elements if every operation is rounded once: the analysis that
Wilkinson ran by hand beside a computation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.3), written as einsums
and evaluated with the rest. Since bounds follow the values, an element whose terms cancel may err by what its terms are, and one that
nothing was added to by nothing at all: no tolerance is chosen anywhere. Where a discontinuity lies within the error (a comparison of
nearly equal numbers, a rounding to integers) the bound is infinite, and nothing is said about that element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Statement
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, f64
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Load, Ordinal, apply, constant
from tcomp.ir.monoids import MONOIDS

LONGEST_PART = 128
"""Products that are added in the element type before the sum is carried on in a wider one."""
LIBRARY = 4.0
"""Units in the last place by which a transcendental function may be off."""
ZERO, ONE, INFINITE = constant(0.0, f64), constant(1.0, f64), constant(math.inf, f64)
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
STEEPEST = {"tanh": 1.0, "sigmoid": 0.25, "sin": 1.0, "cos": 1.0, "atan": 1.0, "erf": 1.1284}
"""The largest slope of functions that have one."""
EXACTLY = {"floor": 0.0, "ceil": 0.0, "trunc": 0.0, "round": 0.0, "sign": 0.0, "copysign": 0.0, "fmod": 0.0, "mod": LIBRARY, "pow": LIBRARY}
"""By how many roundings functions may be off whose arguments are exact; of others nothing is known, since they jump, or are steep."""


def bound_of(name: str) -> str:
    """What the tensor of bounds of a tensor is called."""
    return f"{name}~"


def with_bounds(cascade: Cascade, roundoff: float | None = None) -> Cascade:
    """The cascade with the bounds of its outputs as outputs besides, to be evaluated with `float64=True`.

    `roundoff` is the error of one operation relative to its result; if it is None, that of each element type is taken.
    """
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    exact = {tensor.name for tensor in cascade.inputs}
    bounds = _Bounds(dtypes, exact, roundoff)
    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Iteration):
            body = [einsum for e in statement.body for einsum in (e, *bounds.beside(e, statement.rank.name))]
            statements.append(replace(statement, body=tuple(body)))
        else:
            statements += [statement, *bounds.beside(statement)]
    outputs = (*cascade.outputs, *(bound_of(name) for name in cascade.outputs if name not in exact))
    return replace(cascade, statements=tuple(statements), outputs=tuple(dict.fromkeys(outputs)))


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Makes bounds of expressions and einsums, given the type of every tensor and which of them are exact."""

    dtypes: Mapping[str, DType]
    exact: set[str]
    roundoff: float | None

    def beside(self, einsum: Einsum, step: str | None = None) -> tuple[Einsum, ...]:
        """The einsums that compute the bounds of what an einsum stores."""
        targets = tuple((bound_of(name), f64) for name, _ in einsum.targets)
        error = self.of(einsum.expression)
        start = None if einsum.initial is None else self.of(einsum.initial)
        size = self.size(einsum.expression)
        unit = self.unit(einsum.dtype)
        if einsum.reduce is None:
            # What is stored in another type is rounded once more.
            rounded = error if einsum.dtype == self.type_of(einsum.expression) else _add(error, _times(unit, size))
            return (replace(einsum, targets=targets[:1], expression=rounded, initial=start),)
        fold = replace(einsum, targets=targets[:1], initial=start)
        match einsum.reduce:
            case "sum":
                largest = einsum.initial if einsum.initial is None else self.size(einsum.initial)
                begin = None if start is None or largest is None else _add(start, _times(unit, largest))
                grown = _times(unit * self.growth(einsum), _add(size, error))
                return (replace(fold, expression=_add(error, grown), initial=begin),)
            case "max" | "min" | "last" | "any" | "all" | "xor":
                monoid = "last" if einsum.reduce == "last" else "max"
                return (replace(fold, expression=error, reduce=monoid),)
            case "prod" if not einsum.dtype.is_float:
                return (replace(fold, expression=error, reduce="max"),)
            case "argmax" | "argmin":
                unsure = apply("select", apply("gt", error, ZERO), INFINITE, ZERO)
                positions = replace(fold, targets=targets[1:], expression=unsure, reduce="max")
                return replace(fold, expression=error, reduce="max"), positions
            case "welford":
                wide = _add(size, error)
                mean = _add(error, _times(unit * self.growth(einsum), wide))
                spread = _add(_times(4.0, _mul(wide, error)), _times(2 * unit * self.growth(einsum), _mul(wide, wide)))
                return (
                    replace(fold, expression=mean, reduce="max"),
                    replace(fold, targets=targets[1:2], expression=spread, reduce="sum"),
                    replace(fold, targets=targets[2:], expression=ZERO, reduce="sum"),
                )
        unknown = (replace(fold, targets=(target,), expression=INFINITE, reduce="max", where=None) for target in targets)
        return tuple(unknown)[: MONOIDS[einsum.reduce].arity]

    def growth(self, einsum: Einsum) -> float:
        """By how many roundings of its terms a sum may be off: of a part that is added in sequence, and of the parts."""
        count = 1
        for rank in einsum.reduced:
            count *= rank.extent.constant if rank.extent.is_constant else 1 << 20
        return min(count, LONGEST_PART) + math.log2(count + 1)

    def unit(self, dtype: DType) -> float:
        """The error of one rounding, relative to the result."""
        return 0.0 if not dtype.is_float else dtype.epsilon / 2 if self.roundoff is None else self.roundoff

    def type_of(self, expression: Expr) -> DType:
        return expression_dtype(expression, self.dtypes)

    def size(self, expression: Expr) -> Expr:
        """The magnitude of a value."""
        return apply("abs", Cast(f64, expression)) if self.type_of(expression).is_float else ONE

    def of(self, expression: Expr) -> Expr:
        """A bound on the error of an expression; for one that is no float, infinity where it may be another value."""
        match expression:
            case Constant() | Ordinal():
                return ZERO
            case Load(tensor, index, outside):
                return ZERO if tensor in self.exact else Load(bound_of(tensor), index, None if outside is None else 0.0)
            case Cast(dtype, argument):
                return self._of_cast(dtype, argument)
            case Apply(operator, arguments):
                return self._of_operator(expression, operator, arguments)
        raise AssertionError(expression)

    def _of_cast(self, dtype: DType, argument: Expr) -> Expr:
        error, source = self.of(argument), self.type_of(argument)
        if dtype.is_float and source.is_float:
            return error if dtype.epsilon <= source.epsilon else _add(error, _times(self.unit(dtype), self.size(argument)))
        return apply("select", apply("gt", error, ZERO), INFINITE, ZERO) if source.is_float else error

    def _of_operator(self, whole: Apply, operator: str, arguments: tuple[Expr, ...]) -> Expr:
        if operator == "select":
            return self._of_select(*arguments)
        errors = [self.of(argument) for argument in arguments]
        if operator in COMPARISONS and self.type_of(arguments[0]).is_float:
            gap = apply("abs", apply("sub", *(Cast(f64, argument) for argument in arguments)))
            both = _add(*errors)
            near = apply("and", apply("gt", both, ZERO), apply("le", gap, both))
            return ZERO if both == ZERO else apply("select", near, INFINITE, ZERO)
        if not self.type_of(whole).is_float:
            return _largest(errors)
        unit = _times(self.unit(self.type_of(whole)), self.size(whole))
        sizes = [self.size(argument) for argument in arguments]
        match operator:
            case "neg" | "abs":
                return errors[0]
            case "minimum" | "maximum":
                return _largest(errors)
            case "add" | "sub":
                return _add(_add(*errors), unit)
            case "mul":
                crossed = _add(_mul(sizes[0], errors[1]), _mul(sizes[1], errors[0]))
                return _add(_add(crossed, _mul(*errors)), unit)
            case "div":
                left = apply("sub", sizes[1], errors[1])
                lost = apply("div", _add(errors[0], _mul(self.size(whole), errors[1])), left)
                return _add(apply("select", apply("gt", left, ZERO), lost, INFINITE), unit)
            case "reciprocal":
                left = apply("sub", sizes[0], errors[0])
                lost = apply("div", _mul(self.size(whole), errors[0]), left)
                return _add(apply("select", apply("gt", left, ZERO), lost, INFINITE), unit)
            case "exp":
                grown = _mul(self.size(whole), apply("expm1", errors[0]))
                return _add(grown, _times(LIBRARY, unit))
            case "sqrt":
                return _add(apply("sqrt", errors[0]), unit)
        if operator in EXACTLY:
            either, rounded = _largest(errors), _times(EXACTLY[operator], unit)
            return rounded if either == ZERO else apply("select", apply("gt", either, ZERO), INFINITE, rounded)
        if operator in STEEPEST:
            return _add(_times(STEEPEST[operator], errors[0]), _times(LIBRARY, unit))
        return INFINITE

    def _of_select(self, condition: Expr, first: Expr, second: Expr) -> Expr:
        unsure, one, other = self.of(condition), self.of(first), self.of(second)
        chosen = one if one == other else apply("select", condition, one, other)
        if unsure == ZERO:
            return chosen
        if not self.type_of(first).is_float:
            return _largest([unsure, chosen])
        apart = apply("abs", apply("sub", Cast(f64, first), Cast(f64, second)))
        return apply("select", apply("gt", unsure, ZERO), _add(apart, _add(one, other)), chosen)


def _add(a: Expr, b: Expr) -> Expr:
    return b if a == ZERO else a if b == ZERO else apply("add", a, b)


def _mul(a: Expr, b: Expr) -> Expr:
    return ZERO if ZERO in (a, b) else b if a == ONE else a if b == ONE else apply("mul", a, b)


def _times(factor: float, a: Expr) -> Expr:
    return ZERO if factor == 0 or a == ZERO else apply("mul", constant(factor, f64), a)


def _largest(errors: list[Expr]) -> Expr:
    found = [error for error in errors if error != ZERO]
    total = found[0] if found else ZERO
    for error in found[1:]:
        total = total if error == total else apply("maximum", total, error)
    return total
