"""Maps that an iteration alone reads move into it, if they are larger than what they are made of."""

import numpy
import pytest
from program_runner import random_inputs

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.absorb import absorb_maps

INPUTS = "V: f32[6, 4], A: f32[4, 8], E0: f32[6, 4, 8]"
LOOP = "iterate t:6 { S: f32[t + 1:7, d:4, n:8] = %s * S[t, d, n] from 1.0 }\nZ: f32[d:4, n:8] = S[6, d, n]"


def parse(body):
    return parse_cascade(f"cascade c({INPUTS}) -> (Z) {{\n{body}\n}}")


def test_a_chain_of_maps_moves_in():
    before = parse(
        "t: f32[] = 2.0\nP: f32[a:4, t:6, b:8] = A[a, b] * V[t, a]\nE: f32[a:6, t:4, b:8] = exp(P[t, a, b])\n" + LOOP % "E[t, d, n]"
    )
    after = absorb_maps(before)
    assert [line.strip() for line in str(after).splitlines()[2:6]] == [
        "iterate t:6 {",
        "P: f32[a:4, t:6, b:8] = A[a, b] * V[t, a]",
        "E: f32[t:6, t.0:4, b:8] = exp(P[t.0, t, b])",
        "S: f32[t + 1:7, d:4, n:8] = E[t, d, n] * S[t, d, n] from 1.0",
    ]
    check_cascade(after)
    inputs = random_inputs(before)
    want, got = (evaluate(c, inputs, float64=True)["Z"] for c in (before, after))
    numpy.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("E: f32[t:6, d:4, n:8] = exp(E0[t, d, n])\n" + LOOP % "E[t, d, n]", id="no larger than what it reads"),
        pytest.param("E: f32[t:7, d:4, n:8] = exp(A[d, n])\n" + LOOP % "E[t + 1, d, n]", id="read at another step"),
        pytest.param("E: f32[t:7, d:4, n:8] = exp(A[d, n])\n" + LOOP % "E[t, d, n]", id="longer than the iteration"),
        pytest.param("E: f32[t:6, d:4, n:8] = exp(A[d, n])\n" + LOOP % "(E[t, d, n] * E[t, d, 7 - n])", id="read turned"),
        pytest.param("E: f32[d:4, n:8] = exp(A[d, n])\n" + LOOP % "E[d, n]", id="the same at every step"),
        pytest.param(
            "E: f32[t:6, d:4, n:8] = exp(A[d, n])\n" + LOOP.replace("S[6, d, n]", "S[6, d, n] * E[2, d, n]") % "E[t, d, n]",
            id="read elsewhere too",
        ),
        pytest.param("Z: f32[d:4] = exp(V[2, d])", id="no iteration"),
    ],
)
def test_what_stays_outside(body):
    cascade = parse(body)
    assert absorb_maps(cascade) is cascade
