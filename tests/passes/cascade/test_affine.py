"""Affine maps after contractions fold into their weights."""

import numpy
import pytest

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.dtypes import f32
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import Load, print_expression
from tcomp.ir.parse.cascade import parse_cascade, parse_expression
from tcomp.passes.cascade.affine import Known, find_affine, fold_affine
from tests.program_runner import check_compiled, random_inputs

WEIGHTS = "weight W: f32[6, 8], weight m: f32[6], weight s: f32[6], weight b: f32[6], weight V: f32[4, 6]"


def cascade(body, outputs="Z", inputs=""):
    text = f"cascade c(X: f32[4, 8], P: f32[6], {inputs}{WEIGHTS}) -> ({outputs}) {{\n{body}\n}}"
    parsed = parse_cascade(text)
    check_cascade(parsed)
    return parsed


def folded(body, outputs="Z", inputs=""):
    before = cascade(body, outputs, inputs)
    after = fold_affine(before)
    check_cascade(after)
    arrays = random_inputs(before)
    for name, value in evaluate(before, arrays, float64=True).items():
        numpy.testing.assert_allclose(evaluate(after, arrays, float64=True)[name], value, rtol=1e-9, atol=1e-12)
    return [line.strip() for line in str(after).splitlines()[1:-1]]


CONTRACTION = "Y: f32[n:4, k:6] = sum(c:8) X[n, c] * W[k, c]"


def test_batch_norm_in_three_maps():
    maps = """A: f32[i:4, j:6] = Y[i, j] - m[j]
    B: f32[i:4, j:6] = A[i, j] * s[j]
    Z: f32[n:4, k:6] = B[n, k] + b[k]"""
    assert folded(f"{CONTRACTION}\n{maps}") == [
        "W.scaled: f32[d0:6, d1:8] = W[d0, d1] * s[d0]",
        "Z.shift: f32[k:6] = -m[k] * s[k] + b[k]",
        "Y: f32[n:4, k:6] = sum(c:8) X[n, c] * W.scaled[k, c]",
        "Z: f32[n:4, k:6] = Y[n, k] + Z.shift[k]",
    ]


def test_a_scale_alone_leaves_no_map():
    assert folded(f"{CONTRACTION}\nZ: f32[k:6, n:4] = Y[n, k] * s[k]") == [
        "W.scaled: f32[d0:6, d1:8] = W[d0, d1] * s[d0]",
        "Z: f32[k:6, n:4] = sum(c:8) X[n, c] * W.scaled[k, c]",
    ]


def test_several_static_shifts_become_one():
    assert folded(f"{CONTRACTION}\nA: f32[n:4, k:6] = Y[n, k] + b[k]\nZ: f32[n:4, k:6] = A[n, k] - m[k]") == [
        "Z.shift: f32[k:6] = b[k] - m[k]",
        "Y: f32[n:4, k:6] = sum(c:8) X[n, c] * W[k, c]",
        "Z: f32[n:4, k:6] = Y[n, k] + Z.shift[k]",
    ]


def test_what_comes_after_the_affine_part_stays():
    lines = folded(f"{CONTRACTION}\nA: f32[n:4, k:6] = Y[n, k] * s[k]\nZ: f32[n:4, k:6] = maximum(A[n, k], 0.0)")
    assert lines[-1] == "Z: f32[n:4, k:6] = maximum(A[n, k], 0.0)"
    assert lines[-2] == "A: f32[n:4, k:6] = sum(c:8) X[n, c] * W.scaled[k, c]"


def test_depthwise_weights_that_share_the_scaled_rank():
    body = """Y: f32[k:6, p:6] = sum(r:3) X3[k, p + r] * W[k, r]
    Z: f32[k:6, p:6] = Y[k, p] * s[k] + b[k]"""
    assert folded(body, inputs="X3: f32[6, 8], ")[0] == "W.scaled: f32[d0:6, d1:8] = W[d0, d1] * s[d0]"


def test_narrow_weights_are_scaled_in_the_wide_type():
    body = """Y: f32[n:4, k:6] = sum(c:8) f32(H[n, c]) * f32(G[k, c])
    A: bf16[n:4, k:6] = bf16(Y[n, k])
    Z: bf16[n:4, k:6] = bf16(f32(A[n, k]) * s[k] + b[k])"""
    assert folded(body, inputs="H: bf16[4, 8], weight G: bf16[6, 8], ") == [
        "G.scaled: f32[d0:6, d1:8] = f32(G[d0, d1]) * s[d0]",
        "Y: f32[n:4, k:6] = sum(c:8) f32(H[n, c]) * G.scaled[k, c]",
        "Z: bf16[n:4, k:6] = bf16(Y[n, k] + b[k])",
    ]


@pytest.mark.parametrize(
    "body",
    [
        f"{CONTRACTION}\nZ: f32[n:4, k:6] = Y[n, k] + b[k]",
        f"{CONTRACTION}\nZ: f32[n:4, k:6] = Y[n, k] * P[k]",
        f"{CONTRACTION}\nZ: f32[n:4, k:6] = Y[n, k] * Y[n, k]",
        f"{CONTRACTION}\nZ: f32[n:4, k:6] = s[k] / Y[n, k]",
        f"{CONTRACTION}\nZ: f32[n:4, k:6] = Y[n, k] * V[n, k]",
        f"{CONTRACTION}\nZ: f32[n:4, k:6] = exp(Y[n, k]) * s[k]",
        f"{CONTRACTION}\nZ: f32[n:2, k:6] = Y[n, k] * s[k]",
        f"{CONTRACTION}\nZ: f32[n:4, k:6] = Y[n, 5 - k] * s[k]",
        f"{CONTRACTION}\nZ: f32[n:4, k:6, j:2] = Y[n, k] * s[k]",
        f"{CONTRACTION}\nZ: f32[n:4] = sum(k:6) Y[n, k] * s[k]",
        f"{CONTRACTION}\nZ: f64[n:4, k:6] = f64(Y[n, k]) * f64(s[k])",
        f"{CONTRACTION}\nA: f32[n:4, k:6] = Y[n, k] * s[k]\nZ: f32[n:4, k:6] = A[n, k] + exp(Y[n, k])",
        "Y: f32[n:4, k:6] = sum(c:8) X[n, c] * P[k]\nZ: f32[n:4, k:6] = Y[n, k] * s[k]",
        "Y: f32[n:4, k:6] = max(c:8) X[n, c] * W[k, c]\nZ: f32[n:4, k:6] = Y[n, k] * s[k]",
        "Y: f32[n:4, k:6] = sum(c:8) X[n, c] * exp(W[k, c])\nZ: f32[n:4, k:6] = Y[n, k] * s[k]",
        "Y: f32[n:4, k:6] = sum(c:8) X[n, c] * W[5 - k, c]\nZ: f32[n:4, k:6] = Y[n, k] * s[k]",
    ],
)
def test_refusals(body):
    before = cascade(body)
    assert fold_affine(before) is before


def test_a_contraction_that_is_an_output_stays():
    before = cascade(f"{CONTRACTION}\nZ: f32[n:4, k:6] = Y[n, k] * s[k]", "Y, Z")
    assert fold_affine(before) is before


def test_folding_twice_changes_nothing():
    once = fold_affine(cascade(f"{CONTRACTION}\nZ: f32[n:4, k:6] = (Y[n, k] - m[k]) * s[k] + b[k]"))
    assert fold_affine(once) is once


@pytest.mark.parametrize(
    ("expression", "scale", "shift"),
    [
        ("Y[k]", None, None),
        ("-Y[k]", "-1.0", None),
        ("(Y[k] - m[k]) * s[k] + b[k]", "s[k]", "-m[k] * s[k] + b[k]"),
        ("m[k] - s[k] * Y[k]", "-s[k]", "m[k]"),
        ("(Y[k] + m[k]) / s[k]", "reciprocal(s[k])", "m[k] / s[k]"),
        ("Y[k] + Y[k] * s[k]", "1.0 + s[k]", None),
        ("Y[k] - (Y[k] - m[k])", "1.0 - 1.0", "-(-m[k])"),
        ("f32(bf16(Y[k])) * 2.0", "2.0", None),
        ("Y[k] * sqrt(s[k] + 1.0)", "sqrt(s[k] + 1.0)", None),
    ],
)
def test_coefficients(expression, scale, shift):
    known = Known({"Y": False, "m": True, "s": True, "b": True}, dict.fromkeys("Ymsb", f32), f32)
    y = parse_expression("Y[k]")
    assert isinstance(y, Load)
    affine = find_affine(parse_expression(expression), y, known)
    assert affine is not None
    assert [e if e is None else print_expression(e) for e in (affine.scale, affine.shift)] == [scale, shift]


@pytest.mark.parametrize(
    "text",
    [
        "Y: f32[k:6] = sum(c:4) W[c, k] Z: f32[k:6] = maximum(Y[k], 0.5) - Y[k]",
        "Y: f32[k:6] = sum(c:4) W[c, k] Z: f32[k:6] = Y[k] * exp(Y[k])",
        "A: f32[k:6] = sum(c:4) W[c, k] B: f32[k:6] = sum(c:4) W[c, k] * W[c, k] Z: f32[k:6] = A[k] * B[k]",
    ],
)
def test_a_contraction_of_weights_alone_stays(text):
    """All that is made of it is static: it would be a coefficient of itself, or of another that is one of it."""
    before = parse_cascade(f"cascade c(weight W: f32[4, 6]) -> (Z) {{ {text} }}")
    assert fold_affine(before) is before
    check_compiled(before, random_inputs(before))


def test_folded_weights_run_in_the_prelude():
    before = cascade(f"{CONTRACTION}\nZ: f32[n:4, k:6] = (Y[n, k] - m[k]) * s[k] + b[k]")
    compiled = check_compiled(before, random_inputs(before))
    made = [e.name for e in compiled.prelude.cascade.einsums()]
    assert made[0] == "W.scaled" and "Z.shift" in made
    assert [e.reduce for e in compiled.main.cascade.einsums()] == ["sum", None]
