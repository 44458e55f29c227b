"""Cumulative operators: iterations that carry a state along one dimension.

    iterate t:T {
      S[t + 1, i] = S[t, i] + x[i, t] from 0
      Y[i, t] = S[t + 1, i]
    }
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tcomp.ir.cascade import Einsum, Iteration, Rank
from tcomp.ir.dtypes import DType, i64
from tcomp.ir.expressions import Index, as_index
from tcomp.lowerings.builder import FREE_RANKS, Array, Builder
from tcomp.lowerings.positions import dimension, highest, lowest, replaced, unvector, vector
from tcomp.lowerings.reductions import accumulator
from tcomp.lowerings.scalars import Scalar, absolute, exp, is_nan, literal, log1p, maximum, minimum, ordinal, select
from tcomp.lowerings.table import lowers

aten = torch.ops.aten

Step = Callable[[Sequence[Scalar], Scalar, Index], Scalar]
"""From the states before a step, the element and the step's number to a state after it."""


@dataclass(frozen=True, slots=True)
class Carried:
    """One component of the state: its value before the first element, and what an element makes of it."""

    hint: str
    initial: Scalar
    step: Step


def scan(build: Builder, x: Array, dim: int, states: Sequence[Carried], dtypes: Sequence[DType]) -> tuple[Array, ...]:
    """Emit an iteration along a dimension; returns for each state its value after each element, converted to a dtype."""
    d = dimension(dim, x.rank)
    ranks = [Rank(letter, extent) for letter, extent in zip(FREE_RANKS, x.shape, strict=False)]
    point = tuple(as_index(rank.name) for rank in ranks)
    extent = x.shape[d]
    after, shape = replaced(point, d, point[d] + 1), replaced(x.shape, d, extent + 1)
    held = [Array(build.fresh(s.hint), s.initial.dtype, shape) for s in states]
    old = [state.at(*point) for state in held]
    body: list[Einsum] = []
    for state, array in zip(states, held):
        new = state.step(old, x.at(*point), point[d])
        target = (array.name, array.dtype)
        body.append(Einsum((target,), after, shape, new.expression, initial=state.initial.expression, source=build.source))
    results: list[Array] = []
    for array, dtype in zip(held, dtypes, strict=True):
        result = Array(build.fresh(), dtype, x.shape)
        value = array.at(*after).to(dtype).expression
        body.append(Einsum(((result.name, dtype),), point, x.shape, value, source=build.source))
        results.append(result)
    build.iterate(Iteration(ranks[d], tuple(body)))
    return tuple(results)


@lowers(aten.cumsum.default)
def cumsum(build: Builder, x: Array, dim: int, *, dtype: torch.dtype | None = None) -> Array:
    """Sums of the elements so far."""
    return _fold(build, x, dim, 0, lambda total, element: total + element)


@lowers(aten.cumprod.default)
def cumprod(build: Builder, x: Array, dim: int, *, dtype: torch.dtype | None = None) -> Array:
    """Products of the elements so far."""
    return _fold(build, x, dim, 1, lambda total, element: total * element)


@lowers(aten.logcumsumexp.default)
def logcumsumexp(build: Builder, x: Array, dim: int) -> Array:
    """Logarithms of the sums of exponentials so far."""
    return _fold(build, x, dim, -math.inf, _add_exponentials)


@lowers(aten.cummax.default)
def cummax(build: Builder, x: Array, dim: int) -> tuple[Array, ...]:
    """The largest element so far and the last position where it stood; NaN is larger than all."""
    return _best(build, x, dim, lowest(x.dtype), lambda new, old: new >= old)


@lowers(aten.cummin.default)
def cummin(build: Builder, x: Array, dim: int) -> tuple[Array, ...]:
    """The smallest element so far and the last position where it stood; NaN is smaller than all."""
    return _best(build, x, dim, highest(x.dtype), lambda new, old: new <= old)


def _fold(build: Builder, x: Array, dim: int, start: float, join: Callable[[Scalar, Scalar], Scalar]) -> Array:
    """Fold in the type that PyTorch folds in on CPUs: f64 for f32, f32 for narrower floats, the result's for integers."""
    row = vector(build, x)
    wide = accumulator(build.dtype)

    def step(states: Sequence[Scalar], element: Scalar, _: Index) -> Scalar:
        return join(states[0], element.to(build.dtype).to(wide))

    (result,) = scan(build, row, dim, [Carried("total", literal(start, wide), step)], [build.dtype])
    return unvector(build, result, x)


def _add_exponentials(a: Scalar, b: Scalar) -> Scalar:
    high, low = maximum(a, b), minimum(a, b)
    # Two equal infinities have no difference.
    is_plain = low.differs(high) | (absolute(low) < math.inf)
    return select(is_plain, high + log1p(exp(select(is_plain, low - high, 0.0))), high)


def _best(
    build: Builder, x: Array, dim: int, start: float, is_as_good: Callable[[Scalar, Scalar], Scalar]
) -> tuple[Array, ...]:
    row = vector(build, x)

    def wins(states: Sequence[Scalar], element: Scalar) -> Scalar:
        better = is_as_good(element, states[0])
        return better | is_nan(element) if x.dtype.is_float else better

    def value(states: Sequence[Scalar], element: Scalar, _: Index) -> Scalar:
        return select(wins(states, element), element, states[0])

    def place(states: Sequence[Scalar], element: Scalar, t: Index) -> Scalar:
        return select(wins(states, element), ordinal(t), states[1])

    states = [Carried("best", literal(start, x.dtype), value), Carried("place", literal(0, i64), place)]
    found = scan(build, row, dim, states, [x.dtype, i64])
    return tuple(unvector(build, part, x) for part in found)
