"""Slots that turn out to be ranks: what scatters by them means what it meant."""

import inspect

import numpy
import pytest

from tcomp.ir.cascade import print_einsum
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.inline import inline_views
from tcomp.passes.cascade.simplify import simplify
from tcomp.passes.einsums import slots
from tests.documentation import find_example
from tests.program_runner import check_compiled, random_inputs

FIXED = "X: f32[4, 8], T: f32[9, 8], S: f32[4, 8], Q: f32[8, 8], G: f32[4], J: i64[4], M: bool[4], B: bf16[4, 8]"
INPUTS = f"{FIXED}, U: f32[N, 8], V: f32[P, 8]"


def make(body, outputs="Z", symbols="N in 1.., P in 1.."):
    return parse_cascade(f"cascade c({INPUTS}) -> ({outputs}) for {symbols} {{ {body} }}")


def rewrite(cascade):
    """What inlining and simplifying make of the last einsum."""
    check_cascade(cascade)
    inlined = inline_views(cascade)
    check_cascade(inlined)
    simple = drop_dead(simplify(inlined))
    check_cascade(simple)
    return simple


def check_same(before, after):
    sizes = {"N": 3, "P": 5}
    inputs = random_inputs(before, sizes)
    wants, gots = (evaluate(c, inputs, sizes, float64=True) for c in (before, after))
    for name in before.outputs:
        numpy.testing.assert_array_equal(gots[name], wants[name])


def test_what_the_docstring_shows():
    before, after = find_example(inspect.getmodule(slots).__doc__).split("\n  =>\n")
    simple = rewrite(make(before, "Y, Z"))
    # What code reads that asks for the condition late is guarded, too.
    shown = str(simple).replace("value((J[i] else 0))", "J[i]").replace("last() (G[i] else 0.0)", "last() G[i]")
    assert [line.strip() for line in shown.splitlines()[1:-1]] == [line.strip() for line in after.splitlines()]


TUPLE = "(Z: f32, W: i64)[I[i]:4] = argmax(i:4, d:8) X[i, d]"
RANGE = "I: i64[i:4] = i64[i]"
TABLE = [
    # All of a dimension, more than there is, and part of it.
    ("Z: f32[I[i]:4, d:8] = last(i:4) X[i, d] from S[_0, d]", "Z: f32[i:4, d:8] = X[i, d]"),
    ("Z: f32[I[i]:3, d:8] = last(i:4) X[i, d] from S[_0, d]", "Z: f32[i:3, d:8] = X[i, d]"),
    (
        "Z: f32[I[i]:9, d:8] = last(i:4) X[i, d] from T[_0, d]",
        "Z: f32[i:9, d:8] = select(i64[i] < 4, (X[i, d] else 0.0), T[i, d])",
    ),
    ("Z: f32[I[i]:4, d:8] = sum(i:4) X[i, d] from S[_0, d]", "Z: f32[i:4, d:8] = S[i, d] + X[i, d]"),
    ("Z: f32[I[i]:4, d:8] = max(i:4) X[i, d]", "Z: f32[i:4, d:8] = X[i, d]"),
    ("Z: f32[I[i]:9, d:8] = max(i:4) X[i, d]", "Z: f32[i:9, d:8] = select(i64[i] < 4, (X[i, d] else 0.0), -inf)"),
    # With a condition.
    ("Z: f32[I[i]:4, d:8] = sum(i:4) X[i, d] where M[i] from S[_0, d]", "Z: f32[i:4, d:8] = select(M[i], S[i, d] + X[i, d], S[i, d])"),
    # Roundings stay where they are.
    ("Z: bf16[I[i]:4, d:8] = sum(i:4) B[i, d] from B[_0, d]", "Z: bf16[i:4, d:8] = bf16(f32(B[i, d]) + f32(B[i, d]))"),
    # What is reduced beside it stays so,
    ("Z: f32[I[i]:4] = sum(i:4, d:8) X[i, d]", "Z: f32[i:4] = sum(d:8) X[i, d]"),
    # but a plain reduction has no start and no order.
    ("Z: f32[I[i]:4] = last(i:4, d:8) X[i, d]", None),
    ("Z: f32[I[i]:4] = sum(i:4, d:8) X[i, d] from G[_0]", None),
    # One slot of two.
    ("Z: f32[I[i]:4, J[i]:8] = last(i:4) G[i] from S[_0, _1]", "Z: f32[i:4, J[i]:8] = last() G[i] from S[i, _1]"),
    ("Z: f32[J[i]:4, I[i]:8] = sum(i:4) G[i]", "Z: f32[value((J[i] else 0)):4, i:8] = sum() (G[i] else 0.0) where i64[i] < 4"),
    # A rank walks one dimension only.
    ("Z: f32[I[i]:4, I[i]:8] = last(i:4) G[i] from S[_0, _1]", "Z: f32[i:4, I[i]:8] = last() G[i] from S[i, _1]"),
    ("Z: f32[d:8, K[d]:8] = sum() Q[d, d]", None),
    # Positions are counted along it.
    (TUPLE, None),
    # What is not a rank stays a slot.
    ("Z: f32[I[i] + 1:9] = sum(i:4) G[i]", "Z: f32[i + 1:9] = sum(i:4) G[i]"),
    # Sizes known when the program runs.
    ("Z: f32[R[n]:N, d:8] = last(n:N) U[n, d]", "Z: f32[n:N, d:8] = U[n, d]"),
    (
        "Z: f32[R[n]:P, d:8] = last(n:N) U[n, d] from V[_0, d]",
        "Z: f32[n:P, d:8] = select(i64[n] < i64[N], (U[n, d] else 0.0), V[n, d])",
    ),
    ("Z: f32[L[i]:P] = sum(i:4) G[i]", None),
]
MADE = f"{RANGE} K: i64[d:8] = i64[d] R: i64[n:N] = i64[n] L: i64[i:4] = i64[N]"


@pytest.mark.parametrize(("body", "after"), TABLE)
def test_before_and_after(body, after):
    cascade = make(f"{MADE} {body}")
    simple = rewrite(cascade)
    *_, last = simple.einsums()
    *_, unchanged = cascade.einsums()
    assert print_einsum(last) == (print_einsum(unchanged) if after is None else after)
    check_same(cascade, simple)


def test_places_that_count_from_the_end_are_decided_by_their_range():
    body = f"{RANGE} Z: f32[value(select(I[i] < 0, I[i] + 4, I[i])):4, d:8] = sum(i:4) X[i, d] from S[_0, d]"
    cascade = make(body)
    simple = rewrite(cascade)
    (last,) = simple.einsums()
    assert print_einsum(last) == "Z: f32[i:4, d:8] = S[i, d] + X[i, d]"
    check_same(cascade, simple)


def test_indices_among_the_data_are_held_where_nothing_is_stored():
    cascade = make(f"{RANGE} Z: f32[I[i]:9] = sum(i:4) X[J[i], 0] from T[_0, 0]")
    simple = rewrite(cascade)
    check_same(cascade, simple)


@pytest.mark.parametrize("body", [body for body, _ in TABLE if body != TUPLE and not {"N", "P"} & set(body)])
def test_compiled(body):
    cascade = parse_cascade(f"cascade c({FIXED}) -> (Z) {{ {RANGE} K: i64[d:8] = i64[d] {body} }}")
    check_compiled(cascade, random_inputs(cascade), shuffle=1)
