"""Folding with a monoid, in numpy: along axes, and over groups of points that meet in one place.

A fold is a tree over neighbours, so order is kept (the `last` monoid needs that) and sums lose little to rounding.
"""

from __future__ import annotations

import numpy

from tcomp.ir.dtypes import DType, i64
from tcomp.ir.evaluate.arrays import Array, convert, storage
from tcomp.ir.evaluate.expressions import Environment, evaluate_expression, make_array
from tcomp.ir.expressions import Expr, Number
from tcomp.ir.monoids import Monoid, state_names
from tcomp.ir.operators import OPERATORS

State = tuple[Array, ...]


def identity_state(monoid: Monoid, dtype: DType, shape: tuple[int, ...], float64: bool = False) -> State:
    """The state of an empty reduction, at every point of `shape`."""
    return tuple(numpy.full(shape, make_array(c.value, c.dtype, float64)) for c in monoid.identity(dtype))


def lift_state(monoid: Monoid, dtype: DType, elements: Array, positions: Array, float64: bool = False) -> State:
    """The state of each element by itself."""
    (x,), (i,) = state_names("x", 1), state_names("i", 1)
    state = _evaluate_state(
        monoid.lift(x, i, dtype), {"x.0": elements, "i.0": positions}, {"x.0": dtype, "i.0": i64}, float64
    )
    return tuple(numpy.broadcast_to(component, elements.shape) for component in state)


def merge_states(monoid: Monoid, dtype: DType, a: State, b: State, float64: bool = False) -> State:
    """The states of two parts joined pointwise, `a` before `b`."""
    arrays = {f"a.{k}": component for k, component in enumerate(a)}
    arrays |= {f"b.{k}": component for k, component in enumerate(b)}
    dtypes = {f"{side}.{k}": t for side in "ab" for k, t in enumerate(monoid.state_dtypes(dtype))}
    merged = monoid.merge(state_names("a", monoid.arity), state_names("b", monoid.arity), dtype)
    return _evaluate_state(merged, arrays, dtypes, float64)


def _evaluate_state(parts: tuple[Expr, ...], arrays: dict[str, Array], dtypes: dict[str, DType], float64: bool) -> State:
    def read(tensor: str, index: tuple[Array, ...], outside: Number | None) -> Array:
        return arrays[tensor]

    environment = Environment({}, dtypes, read, float64)
    return tuple(evaluate_expression(part, environment) for part in parts)


def fold_last_axis(
    monoid: Monoid, dtype: DType, elements: Array, positions: Array, active: Array | None, float64: bool = False
) -> State:
    """Fold elements along their last axis; points where `active` is false contribute nothing.

    `positions` and `active` have the shape of `elements`.
    """
    shape = elements.shape[:-1]
    if monoid.operator is not None:
        ufunc = OPERATORS[monoid.operator].numpy
        assert isinstance(ufunc, numpy.ufunc), f"{monoid.operator} merges states and is not a ufunc"
        held = storage(monoid.state_dtypes(dtype)[0], float64)
        start = identity_state(monoid, dtype, (), float64)[0]
        wide = convert(elements, dtype, monoid.state_dtypes(dtype)[0], float64)
        where = True if active is None else active
        with numpy.errstate(all="ignore"):
            return (numpy.asarray(ufunc.reduce(wide, axis=-1, dtype=held, initial=start[()], where=where)),)
    state = lift_state(monoid, dtype, elements, positions, float64)
    alive = numpy.ones(elements.shape, numpy.bool_) if active is None else active
    while alive.shape[-1] > 1:
        a, b = (tuple(c[..., k : alive.shape[-1] // 2 * 2 : 2] for c in state) for k in (0, 1))
        live_a, live_b = (alive[..., k : alive.shape[-1] // 2 * 2 : 2] for k in (0, 1))
        joined = merge_states(monoid, dtype, a, b, float64)
        joined = tuple(
            numpy.where(live_a & live_b, m, numpy.where(live_b, right, left)) for m, left, right in zip(joined, a, b)
        )
        odd = slice(alive.shape[-1] // 2 * 2, None)
        state = tuple(numpy.concatenate([j, c[..., odd]], axis=-1) for j, c in zip(joined, state))
        alive = numpy.concatenate([live_a | live_b, alive[..., odd]], axis=-1)
    nothing = identity_state(monoid, dtype, shape, float64)
    if alive.shape[-1] == 0:
        return nothing
    return tuple(numpy.where(alive[..., 0], c[..., 0], n) for c, n in zip(state, nothing))


def fold_groups(
    monoid: Monoid, dtype: DType, keys: Array, elements: Array, positions: Array, float64: bool = False
) -> tuple[Array, State]:
    """Fold the elements that have equal keys, in their order; returns the distinct keys, sorted, and their states."""
    order = numpy.argsort(keys, kind="stable")
    keys = keys[order]
    state = lift_state(monoid, dtype, elements[order], positions[order], float64)
    while True:
        starts = numpy.concatenate([numpy.ones(min(len(keys), 1), numpy.bool_), keys[1:] != keys[:-1]])
        if starts.all():
            return keys, state
        count = numpy.arange(len(keys))
        place = count - numpy.maximum.accumulate(numpy.where(starts, count, 0))
        left = place % 2 == 0
        paired = left & numpy.concatenate([~starts[1:], numpy.zeros(1, numpy.bool_)])
        a = tuple(c[paired] for c in state)
        b = tuple(c[1:][paired[:-1]] for c in state)
        joined = merge_states(monoid, dtype, a, b, float64)
        for component, new in zip(state := tuple(c.copy() for c in state), joined):
            component[paired] = new
        keys, state = keys[left], tuple(c[left] for c in state)
