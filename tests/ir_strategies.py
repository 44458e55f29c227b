"""Hypothesis strategies for indices, expressions and cascades."""

import math

from hypothesis import strategies

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Symbol, Tensor
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.expressions import Apply, Cast, Load, Ordinal, as_index, constant
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import OPERATORS
from tcomp.ir.walk import value_index

NAMES = strategies.sampled_from(["i", "j", "m.0", "m.1", "N", "value", "sum"])
TENSORS = strategies.sampled_from(["X", "Y", "t.3", "inf", "value", "exp"])


def divide(pair, modulo):
    numerator, denominator = pair
    return numerator % denominator if modulo else numerator // denominator


def indices(leaves, largest=6, symbolic=True):
    """Indices over leaves: sums, products and quotients by small positive numbers (or, if symbolic, by N)."""
    divisors = strategies.integers(1, largest).map(as_index)
    if symbolic:
        divisors = divisors | strategies.just(as_index("N"))

    def extend(inner):
        pairs = strategies.tuples(inner, divisors)
        return strategies.one_of(
            strategies.tuples(inner, inner).map(lambda pair: pair[0] + pair[1]),
            strategies.tuples(inner, strategies.integers(-largest, largest)).map(lambda pair: pair[0] * pair[1]),
            pairs.map(lambda pair: divide(pair, modulo=False)),
            pairs.map(lambda pair: divide(pair, modulo=True)),
        )

    return strategies.recursive(leaves, extend, max_leaves=6)


def literals():
    finite = strategies.floats(width=32)
    whole = strategies.integers(-100, 100)

    def make(dtype):
        if dtype.is_float:
            return finite.map(lambda value: constant(value, dtype))
        if dtype.kind == "bool":
            return strategies.booleans().map(lambda value: constant(value, dtype))
        return whole.map(lambda value: constant(abs(value) if not dtype.signed else value, dtype))

    return strategies.sampled_from(list(DTYPES.values())).flatmap(make)


def outsides():
    numbers = strategies.integers(-5, 5) | strategies.booleans() | strategies.sampled_from([0.5, -0.0, math.inf, -math.inf, math.nan])
    return strategies.none() | numbers


def expressions():
    """Well-formed expressions of every kind, not all well typed."""
    leaves = strategies.integers(-5, 5).map(as_index) | NAMES.map(as_index)
    plain = indices(leaves)

    def extend(inner):
        gathered = strategies.tuples(inner, plain).map(lambda pair: value_index(pair[0]) * 2 + pair[1])
        index = strategies.lists(plain | gathered, max_size=3).map(tuple)
        applied = strategies.sampled_from(list(OPERATORS.values())).flatmap(
            lambda row: strategies.tuples(*[inner] * row.arity).map(lambda arguments: Apply(row.name, arguments))
        )
        return strategies.one_of(
            applied,
            strategies.builds(Cast, strategies.sampled_from(list(DTYPES.values())), inner),
            strategies.builds(Load, TENSORS, index, outsides()),
            strategies.builds(Ordinal, plain, strategies.sampled_from(list(DTYPES.values()))),
        )

    return strategies.recursive(literals(), extend, max_leaves=8)


def einsums():
    """Well-formed einsums, not verified."""
    extents = strategies.sampled_from([as_index(4), as_index("N"), as_index("N") * 2 + 1])
    dtypes = strategies.sampled_from(list(DTYPES.values()))
    targets = strategies.lists(strategies.tuples(TENSORS, dtypes), min_size=1, max_size=3).map(tuple)
    leaves = strategies.integers(-5, 5).map(as_index) | NAMES.map(as_index)
    slots = strategies.lists(strategies.tuples(indices(leaves), extents), max_size=3)
    ranks = strategies.lists(strategies.builds(Rank, NAMES, extents), max_size=2).map(tuple)
    reductions = strategies.just((None, ())) | strategies.tuples(strategies.sampled_from(list(MONOIDS)), ranks)
    optional = strategies.none() | expressions()

    def build(parts):
        names, slot, expression, (monoid, reduced), where, initial = parts
        index, shape = tuple(i for i, _ in slot), tuple(e for _, e in slot)
        return Einsum(names, index, shape, expression, monoid, reduced, where, initial)

    return strategies.tuples(targets, slots, expressions(), reductions, optional, optional).map(build)


def cascades():
    """Well-formed cascades, not verified."""
    shapes = strategies.lists(strategies.sampled_from([as_index(3), as_index("N"), as_index("N") * 4]), max_size=3).map(tuple)
    dtypes = strategies.sampled_from(list(DTYPES.values()))
    inputs = strategies.lists(strategies.builds(Tensor, TENSORS | strategies.just("weight"), dtypes, shapes, strategies.booleans()))
    bodies = strategies.lists(einsums(), max_size=2).map(tuple)
    iterations = strategies.builds(Iteration, strategies.builds(Rank, NAMES, NAMES.map(as_index)), bodies)
    symbols = strategies.lists(
        strategies.builds(Symbol, NAMES, strategies.integers(0, 9), strategies.none() | strategies.integers(9, 99)), max_size=2
    )
    return strategies.builds(
        Cascade,
        TENSORS,
        inputs.map(lambda found: tuple(found[:3])),
        strategies.lists(einsums() | iterations, max_size=3).map(tuple),
        strategies.lists(TENSORS, max_size=2).map(tuple),
        symbols.map(tuple),
    )
