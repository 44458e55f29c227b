"""Tests of all elements against an infinity become tests of an extreme, for any values."""

import math

import numpy
import pytest

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.extremes import ask_extremes

INPUTS = "X: f32[6, 5], N: bf16[6, 5], I: i64[6, 5]"
ROWS = numpy.array(
    [
        [-math.inf] * 5,
        [-math.inf, -math.inf, 1.0, -math.inf, -math.inf],
        [math.nan] + [-math.inf] * 4,
        [math.inf] * 5,
        [math.inf, -math.inf, math.inf, math.inf, math.nan],
        [0.0, -1.0, 2.0, 3.0, 4.0],
    ]
)


def parse(body):
    return parse_cascade(f"cascade c({INPUTS}) -> (Z) {{\n{body}\n}}")


REWRITTEN = {
    "any differs": ("Z: bool[i:6] = any(j:5) X[i, j] != -inf", "max", "!="),
    "all equal": ("Z: bool[i:6] = all(j:5) X[i, j] == -inf", "max", "=="),
    "the largest value": ("Z: bool[i:6] = all(j:5) X[i, j] == inf", "min", "=="),
    "the limit first": ("Z: bool[i:6] = any(j:5) -inf != X[i, j]", "max", "!="),
    "negated": ("Z: bool[i:6] = any(j:5) !(X[i, j] == -inf)", "max", "!="),
    "through maps": (
        "E: bool[a:6, b:5] = X[a, b] == -inf D: bool[b:5, a:6] = !E[a, b] Z: bool[i:6] = any(j:5) D[j, i]",
        "max",
        "!=",
    ),
    "of an expression": ("Z: bool[i:6] = all(j:5) !(X[i, j] * 2.0 != inf)", "min", "=="),
    "of narrow floats": ("Z: bool[i:6] = any(j:5) N[i, j] != -inf:bf16", "max", "!="),
    "of every element": ("Z: bool[] = any(i:6, j:5) X[i, j] != -inf", "max", "!="),
}


@pytest.mark.parametrize(("body", "reduce", "operator"), REWRITTEN.values(), ids=REWRITTEN)
def test_tests_of_all_elements_are_tests_of_an_extreme(body, reduce, operator):
    before = parse(body)
    after = ask_extremes(before)
    check_cascade(after)
    *_, extreme, test = after.statements
    assert (extreme.name, extreme.reduce, extreme.dtype.name, test.reduce) == (f"Z.{reduce}", reduce, "f32", None)
    assert f" {operator} " in str(after).splitlines()[-2]
    for rows in (ROWS, ROWS[::-1], numpy.full((6, 5), -math.inf)):
        inputs = {"X": rows, "N": rows, "I": numpy.zeros((6, 5), numpy.int64)}
        numpy.testing.assert_array_equal(*(evaluate(c, inputs)["Z"] for c in (before, after)))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("Z: bool[i:6] = any(j:5) X[i, j] == -inf", id="any is equal: NaN would hide it"),
        pytest.param("Z: bool[i:6] = all(j:5) X[i, j] != -inf", id="all differ"),
        pytest.param("Z: bool[i:6] = any(j:5) X[i, j] > -inf", id="an order: NaN is in none"),
        pytest.param("Z: bool[i:6] = any(j:5) X[i, j] != 0.0", id="another value"),
        pytest.param("Z: bool[i:6] = any(j:5) I[i, j] != 0", id="integers"),
        pytest.param("E: bool[i:6, j:5] = X[i, j] != -inf Z: bool[i:6] = any(j:5) (E[i, j + 1] else true)", id="read outside"),
        pytest.param("Z: bool[i:6] = any(j:5) X[i, j] != -inf where i64[j] < 3", id="some elements"),
        pytest.param("Z: f32[i:6] = max(j:5) X[i, j]", id="another reduction"),
    ],
)
def test_what_stays(body):
    cascade = parse(body)
    check_cascade(cascade)
    assert ask_extremes(cascade) is cascade
