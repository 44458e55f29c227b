"""Bounds of errors: no evaluation in f32 leaves them, and they are no larger than they have to be."""

import numpy
import pytest
from hypothesis import given

from tcomp.fuzz.oracles.bounds import bound_of, with_bounds
from tcomp.fuzz.oracles.cascade import make_inputs
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tests.cascade_strategies import products, programs


def bounds_of(cascade, inputs):
    found = evaluate(with_bounds(cascade), inputs, float64=True)
    return {name: (found[name], found[bound_of(name)]) for name in cascade.outputs}


def narrow(arrays):
    return {name: array.astype(numpy.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}


@given(programs() | products())
def test_evaluating_in_single_precision_stays_inside_the_bounds(cascade):
    inputs = make_inputs(cascade, 1)
    found = evaluate(cascade, narrow(inputs))
    for name, (exact, bound) in bounds_of(cascade, inputs).items():
        with numpy.errstate(invalid="ignore"):
            assert (~(numpy.abs(found[name] - exact) > bound)).all(), f"{name}\n{cascade}"


def bound(text, **inputs):
    """The bound of Z, in units of half a unit in the last place of 1."""
    cascade = parse_cascade(f"cascade c({text}")
    arrays = {name: numpy.asarray(value, numpy.float64) for name, value in inputs.items()}
    return bounds_of(cascade, arrays)["Z"][1] * 2**24


def test_what_is_only_moved_is_exact():
    assert (bound("X: f32[4]) -> (Z) { Z: f32[i:4] = X[3 - i] }", X=[1, 2, 3, 4]) == 0).all()


def test_bounds_follow_what_cancels():
    """Of a + b - a the bound is that of a + b, however small the result."""
    (small,) = bound("X: f32[2]) -> (Z) { Z: f32[i:1] = X[0] + X[1] - X[0] }", X=[1000.0, 1.0])
    assert 1001 < small < 1003


def test_sums_grow_with_their_terms():
    (short,) = bound("X: f32[1, 4]) -> (Z) { Z: f32[i:1] = sum(j:4) X[i, j] }", X=[[1.0] * 4])
    (long,) = bound("X: f32[1, 64]) -> (Z) { Z: f32[i:1] = sum(j:64) X[i, j] }", X=[[1.0] * 64])
    assert 4 * 4 <= short < 8 * 4 and 64 * 64 <= long < 71 * 64


def test_nothing_is_said_of_what_lies_at_a_discontinuity():
    text = "X: f32[2]) -> (Z) { A: f32[i:2] = X[i] * 3.0 Z: f32[i:2] = select(A[i] < 1.0, 0.0, 100.0) }"
    near, far = bound(text, X=[1 / 3, 2.0])
    assert near > 90 * 2**24 and far == 0


@pytest.mark.parametrize("monoid", ["argmax", "welford", "prod", "logsumexp"])
def test_monoids_with_states_have_bounds_for_every_component(monoid):
    targets = {"argmax": "V: f32, P: i64", "welford": "V: f32, P: f32, N: f32", "logsumexp": "V: f32, P: f32"}.get(monoid)
    head = f"({targets})[i:2]" if targets else "V: f32[i:2]"
    names = [part.split(":")[0].strip() for part in (targets or "V: f32").split(",")]
    cascade = parse_cascade(f"cascade c(X: f32[2, 3]) -> ({', '.join(names)}) {{ {head} = {monoid}(j:3) X[i, j] }}")
    found = bounds_of(cascade, {"X": numpy.arange(6.0).reshape(2, 3)})
    assert all(limit.shape == value.shape for value, limit in found.values())
