"""Equal einsums are computed once."""

import pytest

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.share import share_einsums

INPUTS = "X: f32[8], I: i64[8]"


def shared(body, outputs="Z"):
    before = parse_cascade(f"cascade c({INPUTS}) -> ({outputs}) {{\n{body}\n}}")
    check_cascade(before)
    after = share_einsums(before)
    check_cascade(after)
    return [line.strip() for line in str(after).splitlines()[1:-1]]


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (
            "A: f32[i:8] = exp(X[i])\nB: f32[j:8] = exp(X[j])\nZ: f32[i:8] = A[i] + B[i]",
            ["A: f32[i:8] = exp(X[i])", "Z: f32[i:8] = A[i] + A[i]"],
        ),
        (
            "A: f32[i:8] = exp(X[i])\nB: f32[j:8] = exp(X[j])\nC: f32[i:8] = -A[i]\nD: f32[i:8] = -B[i]\nZ: f32[i:8] = C[i] * D[i]",
            ["A: f32[i:8] = exp(X[i])", "C: f32[i:8] = -A[i]", "Z: f32[i:8] = C[i] * C[i]"],
        ),
        (
            "(A.0: f32, A.1: i64)[] = argmax(i:8) X[i]\n(B.0: f32, B.1: i64)[] = argmax(k:8) X[k]\nZ: f32[] = X[B.1[]] + B.0[]",
            ["(A.0: f32, A.1: i64)[] = argmax(i:8) X[i]", "Z: f32[] = X[A.1[]] + A.0[]"],
        ),
        (
            "A: i64[i:8] = I[i] // 2\nB: i64[i:8] = I[i] // 2\nZ: f32[B[i]:8] = sum(i:8) X[i]".replace("I[i] // 2", "I[i] + 1"),
            ["A: i64[i:8] = I[i] + 1", "Z: f32[A[i]:8] = sum(i:8) X[i]"],
        ),
        (
            "A: f32[i:8] = exp(X[i])\nB: f32[i:8] = exp(X[i])\niterate t:8 { Z: f32[t + 1:9] = Z[t] + B[t] from 0.0 }",
            ["A: f32[i:8] = exp(X[i])", "iterate t:8 {", "Z: f32[t + 1:9] = Z[t] + A[t] from 0.0", "}"],
        ),
    ],
)
def test_before_and_after(body, after):
    assert shared(body) == after


@pytest.mark.parametrize(
    "second",
    [
        "B: f32[i:8] = exp(X[7 - i])",
        "B: f32[i:4] = exp(X[i])",
        "B: f32[i:8] = exp2(X[i])",
        "B: f32[i:8] = sum(j:1) exp(X[i])",
        "B: f32[i:8, j:1] = exp(X[i])",
    ],
)
def test_what_differs_is_kept(second):
    shape = "[i, 0]" if "j:1]" in second else "[value(i64[i] * 0)]"
    text = f"cascade c({INPUTS}) -> (Z) {{ A: f32[i:8] = exp(X[i]) {second} Z: f32[i:8] = A[i] + B{shape} }}"
    cascade = parse_cascade(text)
    check_cascade(cascade)
    assert share_einsums(cascade) is cascade


def test_the_dtype_counts():
    text = f"cascade c({INPUTS}) -> (A, B) {{ A: f32[] = sum(i:8) X[i] B: f64[] = sum(i:8) X[i] }}"
    cascade = parse_cascade(text)
    check_cascade(cascade)
    assert share_einsums(cascade) is cascade


def test_outputs_stay():
    text = f"cascade c({INPUTS}) -> (A, B) {{ A: f32[i:8] = exp(X[i]) B: f32[i:8] = exp(X[i]) }}"
    cascade = parse_cascade(text)
    assert share_einsums(cascade) is cascade
