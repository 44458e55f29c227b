"""Views are read through."""

import pytest
from hypothesis import given, settings

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.inline import LARGEST_INDEX_MAP, inline_views
from tcomp.passes.check import describe_difference
from tests.cascade_strategies import programs
from tests.program_runner import random_inputs

INPUTS = "X: f32[4, 8], R: f32[2, 4], P: f32[1, 8], I: i64[8]"


def same_values(before, after):
    inputs = random_inputs(before)
    want, got = evaluate(before, inputs, float64=True), evaluate(after, inputs, float64=True)
    for name in before.outputs:
        assert describe_difference(got[name].reshape(-1), want[name].reshape(-1)) is None


def inlined(body, outputs="Z"):
    before = parse_cascade(f"cascade c({INPUTS}) -> ({outputs}) {{\n{body}\n}}")
    check_cascade(before)
    after = drop_dead(inline_views(before))
    check_cascade(after)
    same_values(before, after)
    return [line.strip() for line in str(after).splitlines()[1:-1]]


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (
            "V: f32[i:8, j:4] = X[j, i]\nZ: f32[a:8, b:4] = exp(V[a, b])",
            ["Z: f32[a:8, b:4] = exp(X[b, a])"],
        ),
        (
            "V: f32[i:32] = X[i // 8, i % 8]\nZ: f32[a:4, b:8] = V[8*a + b] * 2.0",
            ["Z: f32[a:4, b:8] = X[a, b] * 2.0"],
        ),
        (
            "V: f32[i:4, j:3] = X[i, 2*j + 1]\nW: f32[j:3] = V[2, j]\nZ: f32[k:3] = -W[2 - k]",
            ["Z: f32[k:3] = -X[2, 5 - 2*k]"],
        ),
        (
            "C: f32[i:8] = 2.0\nZ: f32[i:4, j:8] = X[i, j] * C[j]",
            ["Z: f32[i:4, j:8] = X[i, j] * 2.0"],
        ),
        (
            "M: bool[i:4, j:8] = i64[i] <= i64[j]\nZ: f32[i:4, j:8] = select(M[i, j], X[i, j], 0.0)",
            ["Z: f32[i:4, j:8] = select(i64[i] <= i64[j], X[i, j], 0.0)"],
        ),
        (
            "J: i64[i:8] = I[i] + 4\nZ: f32[i:8] = X[0, J[i]]",
            ["Z: f32[i:8] = X[0, value(I[i] + 4)]"],
        ),
        (
            "J: i64[i:8] = I[i] + 4\nZ: f32[J[i]:8] = sum(i:8) X[0, i]",
            ["Z: f32[value(I[i] + 4):8] = sum(i:8) X[0, i]"],
        ),
        (
            "V: f32[i:4, j:8] = X[i, j]\nZ: f32[p:8] = sum(r:3) (V[1, p + r - 1] else 0.0)",
            ["Z: f32[p:8] = sum(r:3) (X[1, p + r - 1] else 0.0)"],
        ),
        (
            "V: f32[j:4] = X[0, j]\nZ: f32[p:8] = (V[p] else 1.0)",
            ["Z: f32[p:8] = select(true & (i64[p] >= 0 & i64[p] < i64[4]), (X[0, p] else 0.0), 1.0)"],
        ),
        (
            "V: f32[i:4, j:10] = (X[i, j - 1] else 0.0)\nZ: f32[j:8] = V[1, j + 1]",
            ["Z: f32[j:8] = (X[1, j] else 0.0)"],
        ),
    ],
)
def test_before_and_after(body, after):
    assert inlined(body) == after


@pytest.mark.parametrize(
    "body",
    [
        "V: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[a:8, b:4] = V[b, a] + 1.0",
        "V: f32[i:4] = sum(j:8) X[i, j]\nZ: f32[i:4] = V[i] + 1.0",
        "J: i64[i:8] = I[i] + 4\nZ: i64[i:8] = J[i] * J[i]",
    ],
)
def test_what_computes_stays(body):
    before = parse_cascade(f"cascade c({INPUTS}) -> (Z) {{\n{body}\n}}")
    check_cascade(before)
    assert inline_views(before) is before


def test_a_view_that_is_an_output_is_still_computed():
    assert inlined("V: f32[i:8, j:4] = X[j, i]\nZ: f32[a:8] = V[a, 0] + 1.0", "V, Z") == [
        "V: f32[i:8, j:4] = X[j, i]",
        "Z: f32[a:8] = X[0, a] + 1.0",
    ]


def test_a_long_value_of_positions_is_not_copied_into_readers():
    long = " + ".join(["sin(f32[i])"] * LARGEST_INDEX_MAP)
    body = f"V: f32[i:8] = {long}\nZ: f32[i:4, j:8] = X[i, j] * V[j]"
    assert len(inlined(body)) == 2


def test_loads_in_an_iteration_are_read_through():
    body = "V: f32[j:8, i:4] = X[i, j]\niterate t:8 { Z: f32[t + 1:9] = Z[t] + V[t, 1] from 0.0 }"
    assert "Z: f32[t + 1:9] = Z[t] + X[1, t] from 0.0" in inlined(body)


@settings(max_examples=60, deadline=None)
@given(programs())
def test_values_are_kept(cascade):
    after = inline_views(cascade)
    check_cascade(after)
    same_values(cascade, after)
    assert inline_views(after) is after


def test_slots_that_stay_data_are_read_through_at_once():
    body = "A: i64[i:2] = i64[i] B: i64[i:2] = i64[i] Z: f32[A[i]:3, B[i]:2] = sum(i:2) X[0, 0]"
    cascade = parse_cascade(f"cascade c(X: f32[4, 8]) -> (Z) {{ {body} }}")
    after = inline_views(cascade)
    assert not {"A", "B"} & {*list(after.einsums())[-1].reads()}
    assert inline_views(after) is after


def test_a_gather_that_is_read_outside_a_view_keeps_its_indices_inside():
    after = inlined("V: f32[j:8] = P[0, I[j]] Z: f32[j:10] = (V[j - 1] else 2.0)")
    # The gathered tensor has no value outside: an index outside it remains an error.
    assert "P[0, value(select(" in "\n".join(map(str, after))
    # One that would be read at other places outside as well is computed first.
    after = inlined("V: f32[j:8] = X[I[j], j] Z: f32[j:10] = (V[j - 1] else 2.0)")
    assert after == ["V: f32[j:8] = X[I[j], j]", "Z: f32[j:10] = (V[j - 1] else 2.0)"]


def inlined_names(body):
    cascade = drop_dead(inline_views(parse_cascade(f"cascade c({INPUTS}) -> (Z) {{\n{body}\n}}")))
    check_cascade(cascade)
    return [einsum.name for einsum in cascade.einsums()]


def test_a_gather_from_a_part_of_a_tensor_keeps_its_range():
    """An index that is data and outside the part may be inside the whole, or the part may read nothing by it."""
    kept = {
        "a part": "V: f32[i:2, j:8] = X[i, j] Z: f32[j:8] = V[I[j], j]",
        "positions": "V: i64[i:8] = i64[i] Z: i64[j:8] = V[I[j]]",
        "ones": "V: f32[i:3] = 1.0 Z: f32[j:8] = V[I[j]]",
        "a repeated row": "V: f32[i:3, j:8] = X[0, j] Z: f32[j:8] = V[I[j], j]",
        "every other": "V: f32[i:4] = X[0, 2 * i] Z: f32[j:8] = V[I[j]]",
    }
    for text in kept.values():
        assert inlined_names(text) == ["V", "Z"]
    through = {
        "a transpose": "V: f32[j:8, i:4] = X[i, j] Z: f32[j:8] = V[j, I[j]]",
        "a part of another dimension": "V: f32[i:4, j:3] = X[i, j] Z: f32[j:3] = V[I[j], j]",
        "an index held inside": "V: i64[i:8] = i64[i] Z: i64[j:8] = (V[I[j]] else 0)",
    }
    for text in through.values():
        assert inlined_names(text) == ["Z"]


def test_bools_read_outside_a_view_are_false():
    before = parse_cascade("""cascade c(B: bool[4, 8]) -> (Z) {
      V: bool[k:32] = B[k // 8, k % 8]
      Z: f32[k:34] = select((V[k - 1] else true), 1.0, 0.0)
    }""")
    after = drop_dead(inline_views(before))
    check_cascade(after)
    same_values(before, after)
    assert "else false" in str(after)
