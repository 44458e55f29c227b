"""Ranks are normalised: units go, divided ranks are split, values stay."""

import pytest
from hypothesis import given, settings

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.tile import contiguous_strides
from tcomp.passes.cascade.normalise import normalise_ranks
from tcomp.passes.check import describe_difference
from tests.cascade_strategies import programs
from tests.program_runner import random_inputs

INPUTS = "A: f32[1, 8, 12], W: f32[5, 12], U: f32[1, 1], P: f32[6]"


def normalised(body, outputs="Y", inputs=INPUTS, symbols=""):
    before = parse_cascade(f"cascade c({inputs}) -> ({outputs}){symbols} {{\n{body}\n}}")
    check_cascade(before)
    after, _ = normalise_ranks(before, {})
    check_cascade(after)
    same_values(before, after)
    return [line.strip() for line in str(after).splitlines()[1:-1]]


def same_values(before, after, symbols=None):
    symbols = symbols or {s.name: max(s.low, 3) for s in before.symbols}
    inputs = random_inputs(before, symbols)
    want = evaluate(before, inputs, symbols, float64=True)
    shapes = {t.name: [extent_value(e, symbols) for e in t.shape] for t in after.inputs}
    got = evaluate(after, {n: inputs[n].reshape(shape) for n, shape in shapes.items()}, symbols, float64=True)
    for name in before.outputs:
        assert describe_difference(got[name].reshape(-1), want[name].reshape(-1)) is None


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (
            "Y: f32[b:1, s:8, n:5] = sum(k:12) A[b, s, k] * W[n, k]",
            ["Y: f32[s:8, n:5] = sum(k:12) A[s, k] * W[n, k]"],
        ),
        (
            "Y: bf16[s:8] = sum(b:1) A[b, s, 3] * 2.0",
            ["Y: bf16[s:8] = bf16(A[s, 3] * 2.0)"],
        ),
        (
            "Y: f32[s:8, k:12] = A[0, s, k // 4 * 4 + k % 4] * A[0, s, k % 4]",
            ["Y: f32[s:8, k.1:3, k.0:4] = A[s, k.0 + 4*k.1] * A[s, k.0]"],
        ),
        (
            "B: f32[s:8, k:12] = exp(A[0, s, k])\nY: f32[s:8, n:5] = sum(k:12) B[k // 4, k % 4] * W[n, k] * B[s, k]",
            [
                "B: f32[s:8, k:12] = exp(A[s, k])",
                "Y: f32[s:8, n:5] = sum(k.1:3, k.0:4) B[k.1, k.0] * W[n, k.0 + 4*k.1] * B[s, k.0 + 4*k.1]",
            ],
        ),
        (
            "B: f32[k:12] = A[0, k // 4, k % 4]\nY: f32[s:8, k:12] = B[k] * A[0, s, k]",
            [
                "B: f32[k.1:3, k.0:4] = A[k.1, k.0]",
                "Y: f32[s:8, k.1:3, k.0:4] = B[k.1, k.0] * A[s, k.0 + 4*k.1]",
            ],
        ),
        ("Y: f32[i:1] = sum(j:1) U[i, j]", ["Y: f32[] = U[]"]),
        ("(M: f32, Y: i64)[i:1] = argmax(j:1) U[i, j]", ["(M: f32, Y: i64)[] = argmax(j:1) U[]"]),
        ("Y: f32[i:3] = (U[i, 0] else 2.0)", ["Y: f32[i:3] = (U[i, 0] else 2.0)"]),
        ("Y: f32[k:6] = P[k] + f32[k // 2]", ["Y: f32[k:6] = P[k] + f32[k // 2]"]),
        (
            "iterate t:3 { Y: f32[t + 1:4, d:1] = Y[t, d] + U[0, d] from 0.0 }",
            ["iterate t:3 {", "Y: f32[t + 1:4, d:1] = Y[t, d] + U[] from 0.0", "}"],
        ),
    ],
)
def test_before_and_after(body, after):
    assert normalised(body) == after


def test_a_symbolic_extent_is_not_split():
    body = "Y: f32[k:4*N] = X[k // 4, k % 4]"
    assert normalised(body, inputs="X: f32[N, 4]", symbols=" for N in 1..") == [body]


def test_strides_of_the_same_memory_follow():
    text = "cascade c(A: f32[1, 8, 12]) -> (Y) { Y: f32[b:1, k:96] = A[b, k // 12, k % 12] }"
    before = parse_cascade(text)
    steps = {"A": (as_index(96), as_index(12), as_index(1)), "Y": (as_index(500), as_index(5))}
    after, strides = normalise_ranks(before, steps)
    assert [t.shape for t in after.inputs] == [(as_index(8), as_index(12))]
    assert strides == {"A": (as_index(12), as_index(1)), "Y": (as_index(60), as_index(5))}


@settings(max_examples=100, deadline=None)
@given(programs())
def test_values_are_kept(cascade):
    tensors = cascade.tensors()
    strides = {name: contiguous_strides(tensor.shape) for name, tensor in tensors.items()}
    after, moved = normalise_ranks(cascade, strides)
    check_cascade(after)
    same_values(cascade, after)
    for name, tensor in after.tensors().items():
        assert len(moved[name]) == len(tensor.shape)
