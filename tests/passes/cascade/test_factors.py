"""Constant factors of both operands of a contraction gather at one of them."""

import numpy
import pytest

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.factors import gather_factors
from tests.program_runner import random_inputs

SCALED = "A: f32[a:4, e:8] = Q[a, e] * 0.5:f32\nB: f32[e:8, j:6] = 0.25:f32 * (K[j, e - 1] else 2.0)\n"
PRODUCT = "Z: f32[i:4, j:6] = sum(e:8) A[i, e] * B[e, j]"


def parse(body, outputs="Z", dtype="f32"):
    text = f"cascade c(Q: f32[4, 8], K: f32[6, 8]) -> ({outputs}) {{\n{body}\n}}"
    cascade = parse_cascade(text.replace("f32", dtype))
    check_cascade(cascade)
    return cascade


@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16"])
def test_one_operand_keeps_both_factors(dtype):
    before = parse(SCALED + PRODUCT, dtype=dtype)
    after = gather_factors(before)
    check_cascade(after)
    factor = "0.125" if dtype == "f32" else f"0.125:{dtype}"
    assert [line.strip() for line in str(after).splitlines()[1:-1]] == [
        f"B: {dtype}[e:8, j:6] = (K[j, e - 1] else 2.0) * {factor}",
        f"Z: {dtype}[i:4, j:6] = sum(e:8) Q[i, e] * B[e, j]",
    ]
    inputs = random_inputs(before)
    want, got = (evaluate(c, inputs, float64=True)["Z"] for c in (before, after))
    numpy.testing.assert_allclose(got, want, rtol=1e-12)


STAYS = {
    "one factor": ("B: f32[j:6, e:8] = K[j, e] * 0.25\nZ: f32[i:4, j:6] = sum(e:8) Q[i, e] * B[j, e]", "Z", "f32"),
    "read elsewhere too": (SCALED + PRODUCT + "\nY: f32[i:4, e:8] = exp(A[i, e])", "Z, Y", "f32"),
    "an output": (SCALED + PRODUCT, "Z, A", "f32"),
    "read by nobody": (SCALED + "Z: f32[i:4, j:6] = sum(e:8) Q[i, e] * K[j, e]", "Z", "f32"),
    "a shift": (SCALED.replace("* 0.5", "+ 0.5") + PRODUCT, "Z", "f32"),
    "one operand twice": ("A: f32[i:4, e:8] = Q[i, e] * 0.5\nZ: f32[i:4, j:4] = sum(e:8) A[i, e] * A[j, e]", "Z", "f32"),
    "a factor that could overflow": (SCALED.replace("0.5", "1e6") + PRODUCT, "Z", "f32"),
    "a product that could vanish": (SCALED.replace("0.5", "2e-5").replace("0.25", "2e-5") + PRODUCT, "Z", "f32"),
    "halves": (SCALED + PRODUCT, "Z", "f16"),
    "an operand read outside": (SCALED + PRODUCT.replace("A[i, e]", "(A[i, e - 1] else 0.0)"), "Z", "f32"),
    "no contraction": (SCALED + "Z: f32[i:4, j:6] = sum(e:8) A[i, e] + B[e, j]", "Z", "f32"),
}


@pytest.mark.parametrize(("body", "outputs", "dtype"), STAYS.values(), ids=STAYS)
def test_what_stays(body, outputs, dtype):
    cascade = parse(body, outputs, dtype)
    assert gather_factors(cascade) is cascade
