"""The least time of steps, worked out by hand on a machine of round numbers."""

import pytest

from tcomp.codegen.c.roofline import Rate, Roofline
from tcomp.profiling.bounds import Needs, Touch, find_bounds

MACHINE = Roofline(1, (("f32", 100.0), ("f64", 50.0)), (Rate(10, 100.0, 100.0), Rate(1000, 10.0, 10.0)))
"""Reads and writes 100 bytes a second of less than 1000, and 10 of more."""


def bound(*steps, arena=0):
    return [(b.compute, pytest.approx(b.memory)) for b in find_bounds(steps, arena, MACHINE)]


def test_operations_take_their_time_by_type():
    assert bound(Needs(200, "f32", ()), Needs(200, "f64", ()), Needs(200, "i64", ())) == [(2.0, 0.0), (4.0, 0.0), (2.0, 0.0)]


def test_what_stays_in_a_small_cache_comes_from_there():
    assert bound(Needs(0, "f32", (Touch(None, 40, False), Touch(None, 10, True)))) == [(0.0, 0.5)]


def test_weights_come_from_where_all_that_a_call_touches_fits():
    weight, other = Touch("w", 100, False), Touch("v", 2000, False)
    assert bound(Needs(0, "f32", (weight,))) == [(0.0, 1.0)]
    assert bound(Needs(0, "f32", (weight,)), Needs(0, "f32", (other,))) == [(0.0, 10.0), (0.0, 200.0)]
    assert bound(Needs(0, "f32", (weight,)), arena=2000) == [(0.0, 10.0)]


def test_what_the_call_has_touched_may_still_be_near():
    step = Needs(0, "f32", (Touch("w", 100, False),))
    assert bound(step, step, arena=2000) == [(0.0, 10.0), (0.0, 1.0)]
