"""Prefix folds in tiles on a GPU: what is one, what is none, and that both compute what they say."""

from dataclasses import replace

import pytest

from tcomp.ir.parse.cascade import parse_cascade
from tests.passes.lower.gpu.test_lower_gpu import GPU, shrink_tiles
from tests.program_runner import check_compiled, random_inputs

INPUTS = "X: f32[9, 5], A: f32[9, 5], V: f32[5], B: bool[9, 5]"

PREFIXES = {
    "sum": "iterate t:9 { S: f32[t + 1:10, d:5] = S[t, d] + X[t, d] from 0.0 } Y: f32[t:9, d:5] = S[t + 1, d] * 2.0",
    "in f64": "iterate t:9 { S: f64[t + 1:10, d:5] = S[t, d] + f64(X[t, d]) from 0.0:f64 Y: f32[t:9, d:5] = f32(S[t + 1, d]) }",
    "product": "iterate t:9 { S: f32[d:5, t + 1:10] = X[t, d] * S[d, t] from 1.0 } Y: f32[t:9, d:5] = S[d, t + 1]",
    "max from data": "iterate t:9 { Y: f32[t + 1:10, d:5] = maximum(Y[t, d], X[t, d]) from V[d] }",
    "any": "iterate t:9 { S: bool[t + 1:10, d:5] = S[t, d] | B[t, d] from false } Y: f32[t:9, d:5] = select(S[t + 1, d], 1.0, 0.0)",
    "chained maps": """iterate t:9 {
      S: f32[t + 1:10, d:5] = S[t, d] + exp(X[t, d]) from 0.0
      M: f32[t:9, d:5] = S[t + 1, d] * A[t, d]
      Y: f32[t:9, d:5] = M[t, d] + M[t, d] * X[t, d]
    }""",
    "backwards": "iterate t:9 { S: f32[t + 1:10, d:5] = S[t, d] + X[8 - t, d] from 0.0 } Y: f32[t:9, d:5] = S[9 - t, d]",
}

OTHERS = {
    "a product before the sum": "iterate t:9 { Y: f32[t + 1:10, d:5] = A[t, d] * Y[t, d] + X[t, d] from 0.0 }",
    "a difference": "iterate t:9 { Y: f32[t + 1:10, d:5] = X[t, d] - Y[t, d] from 0.0 }",
    "the state in the value": "iterate t:9 { Y: f32[t + 1:10, d:5] = Y[t, d] + exp(Y[t, d]) * X[t, d] from 0.0 }",
    "a state before the step is read": """iterate t:9 {
      S: f32[t + 1:10, d:5] = S[t, d] + X[t, d] from 0.0
      Y: f32[t:9, d:5] = S[t, d]
    }""",
    "two states": """iterate t:9 {
      S: f32[t + 1:10, d:5] = S[t, d] + X[t, d] from 0.0
      Y: f32[t + 1:10, d:5] = Y[t, d] + S[t + 1, d] from 0.0
    }""",
}


def kernel_of(body, tiny=False):
    cascade = parse_cascade(f"cascade c({INPUTS}) -> (Y) {{ {body} }}")
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            shrink_tiles(patch)
        compiled = check_compiled(cascade, random_inputs(cascade), target=replace(GPU, multiprocessors=100), shuffle=1)
    return next(str(kernel) for _, kernel in compiled.main.kernels if "scan" in str(kernel) or "for t in" in str(kernel))


@pytest.mark.parametrize("tiny", [False, True], ids=["one tile", "several tiles"])
@pytest.mark.parametrize("body", PREFIXES.values(), ids=PREFIXES)
def test_folds_are_scanned_tile_by_tile(body, tiny):
    assert "scan part" in kernel_of(body, tiny)


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_other_recurrences_are_walked_step_by_step(body):
    kernel = kernel_of(body)
    assert "scan part" not in kernel
    assert "for t in 0 .. 9" in kernel


def test_many_neighbours_are_walked_side_by_side():
    cascade = parse_cascade(
        "cascade c(X: f32[9, 500]) -> (Y) { iterate t:9 { Y: f32[t + 1:10, d:500] = Y[t, d] + X[t, d] from 0.0 } }"
    )
    compiled = check_compiled(cascade, random_inputs(cascade), target=GPU)
    ((_, kernel),) = compiled.main.kernels
    assert "scan" not in str(kernel)
