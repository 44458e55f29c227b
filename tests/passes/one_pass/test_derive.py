"""One-pass forms: what splits into a running part and a correction, and what refuses to."""

import pytest

from tcomp.ir.expressions import print_expression
from tcomp.passes.einsums.group import Form, Group, OnePass
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.one_pass.derive import find_one_pass, read_one_pass
from tests.gpu_groups import read_cascade

INPUTS = "S: f32[6, 8], M: f32[6, 8], B: f32[8], V: f32[8, 4], T: bf16[6, 8], U: bf16[8, 4]"
MAXIMUM = "G: f32[p:6] = max(m:8) S[p, m] "
SUM = "D: f32[p:6] = sum(m:8) E[p, m] "
SOFTMAX = MAXIMUM + "E: f32[p:6, m:8] = exp(S[p, m] - G[p]) " + SUM + "P: f32[p:6, m:8] = E[p, m] / D[p] "
SAFE = SOFTMAX.replace("E[p, m] / D[p]", "select(G[p] == -inf, 0.0, E[p, m] / D[p])")
TAIL = "Z: f32[p:6, f:4] = sum(m:8) P[p, m] * V[m, f]"


def find_forms(body, weights="P"):
    """The forms of a nest over m and of the contraction that reads what it stores; None if there are none."""
    cascade = read_cascade(body, INPUTS)
    middle, last = fuse(cascade)
    assert (middle.kind, last.kind, middle.stored) == ("nest", "contract", (weights,))
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    fact = find_one_pass(middle, last.root, weights, dtypes)
    # What comes before the nest makes no difference.
    chain = Group("chain", (), middle.outer, middle.inner, parts=(last, middle, last), fact=fact)
    return None if fact is None else read_one_pass(chain, dtypes)


def describe(running):
    """A form on one line: `Z <- core, exp(G' - G), scale`, the second if it has a reference, the third if it is scaled; `?` if guarded."""
    text = f"{running.einsum.name} <- {print_expression(running.core)}"
    text += "?" if running.is_guarded else ""
    text += "" if running.reference is None else f", exp({running.reference}' - {running.reference})"
    return text if running.scale is None else f"{text}, {print_expression(running.scale)}"


SPLIT = {
    # What the docstring shows.
    "softmax": (
        MAXIMUM
        + "D: f32[p:6] = sum(m:8) exp(S[p, m] - G[p]) P: f32[p:6, m:8] = exp(S[p, m] - G[p]) / D[p] "
        + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f], exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "maps between": (
        SOFTMAX + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f], exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "maps before": (
        "A: f32[p:6, m:8] = S[p, m] * 0.5 + M[p, m] " + SOFTMAX.replace("S[p, m]", "A[p, m]") + TAIL,
        [
            "G <- S[p, m] * 0.5 + M[p, m]",
            "D <- exp(S[p, m] * 0.5 + M[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] * 0.5 + M[p, m] - G[p]) * V[m, f], exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "factors without the maximum": (
        SOFTMAX.replace("E[p, m] / D[p]", "E[p, m] / D[p] * B[m] / M[p, m]") + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * B[m] / M[p, m] * V[m, f], exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "factors without the rank": (
        SOFTMAX.replace("E[p, m] / D[p]", "2.0 * E[p, m] / (D[p] * abs(G[p]))") + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f], exp(G' - G), 2.0 / D[p] / abs(G[p])",
        ],
    ),
    "quotients of quotients": (
        SOFTMAX.replace("E[p, m] / D[p]", "E[p, m] / (D[p] / M[p, m])") + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * M[p, m] * V[m, f], exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "a map of what is deferred": (
        SOFTMAX.replace("E[p, m] / D[p]", "E[p, m] * R[p]").replace("P: f32", "R: f32[p:6] = 1.0 / (D[p] + 1.0) P: f32") + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f], exp(G' - G), 1.0 / (D[p] + 1.0)",
        ],
    ),
    "zeros where all are -inf": (
        SAFE + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f]?, exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "zeros unless one is not -inf": (
        SAFE.replace("G[p] == -inf", "!(G[p] != -inf)") + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f]?, exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "no maximum": (
        "D: f32[p:6] = sum(m:8) S[p, m] * S[p, m] P: f32[p:6, m:8] = S[p, m] * rsqrt(D[p] + 0.5) " + TAIL,
        ["D <- S[p, m] * S[p, m]", "Z <- S[p, m] * V[m, f], rsqrt(D[p] + 0.5)"],
    ),
    "other reductions beside": (
        "L: f32[p:6] = min(m:8) M[p, m] A: f32[p:6] = prod(m:8) B[m] * M[p, m] P: f32[p:6, m:8] = S[p, m] * L[p] * A[p] " + TAIL,
        ["L <- M[p, m]", "A <- B[m] * M[p, m]", "Z <- S[p, m] * V[m, f], L[p] * A[p]"],
    ),
    "a sum of what was corrected": (
        SOFTMAX.replace("P: f32", "N: f32[p:6] = sum(m:8) E[p, m] * abs(S[p, m]) P: f32").replace("/ D[p] ", "/ (D[p] + N[p]) ") + TAIL,
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "N <- exp(S[p, m] - G[p]) * abs(S[p, m]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f], exp(G' - G), reciprocal(D[p] + N[p])",
        ],
    ),
    "the other operand first": (
        SOFTMAX + TAIL.replace("P[p, m] * V[m, f]", "V[m, f] * P[p, m]"),
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- exp(S[p, m] - G[p]) * V[m, f], exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "roundings left out, and what tensor cores take": (
        "G: bf16[p:6] = max(m:8) T[p, m] E: bf16[p:6, m:8] = bf16(exp(f32(T[p, m]) - f32(G[p]))) "
        "D: f32[p:6] = sum(m:8) f32(E[p, m]) P: bf16[p:6, m:8] = bf16(f32(E[p, m]) / D[p]) "
        "Z: bf16[p:6, f:4] = sum(m:8) f32(P[p, m]) * f32(U[m, f])",
        [
            "G <- T[p, m]",
            "D <- exp(f32(T[p, m]) - f32(G[p])), exp(G' - G)",
            "Z <- f32(bf16(exp(f32(T[p, m]) - f32(G[p])))) * f32(U[m, f]), exp(G' - G), reciprocal(D[p])",
        ],
    ),
    "products of narrow operands as they are": (
        SOFTMAX.replace("P: f32", "P: bf16").replace("E[p, m] / D[p]", "bf16(E[p, m] / D[p])")
        + "Z: bf16[p:6, f:4] = sum(m:8) P[p, m] * U[m, f]",
        [
            "G <- S[p, m]",
            "D <- exp(S[p, m] - G[p]), exp(G' - G)",
            "Z <- bf16(exp(S[p, m] - G[p])) * U[m, f], exp(G' - G), reciprocal(D[p])",
        ],
    ),
}


@pytest.mark.parametrize(("body", "forms"), SPLIT.values(), ids=SPLIT)
def test_what_splits(body, forms):
    found = find_forms(body)
    assert found is not None
    assert [describe(running) for running in found] == forms


REFUSED = {
    "no exponential": SOFTMAX.replace("exp(S[p, m] - G[p])", "abs(S[p, m] - G[p])"),
    "the exponential of another value": SOFTMAX.replace("exp(S[p, m] - G[p])", "exp(S[p, m] * 2.0 - G[p])"),
    "the exponential of the negative": SOFTMAX.replace("exp(S[p, m] - G[p])", "exp(G[p] - S[p, m])"),
    "the maximum of another value": SOFTMAX.replace("max(m:8) S[p, m]", "max(m:8) M[p, m]"),
    "a minimum": SOFTMAX.replace("max(m:8)", "min(m:8)"),
    "a sum in place of a maximum": SOFTMAX.replace("max(m:8)", "sum(m:8)"),
    "a maximum of what depends on one": SOFTMAX.replace("D: f32[p:6] = sum", "D: f32[p:6] = max"),
    "a product of what depends on one": SOFTMAX.replace("D: f32[p:6] = sum", "D: f32[p:6] = prod"),
    "zeros where another maximum is -inf": "H: f32[p:6] = max(m:8) abs(S[p, m]) " + SAFE.replace("G[p] == -inf", "H[p] == -inf"),
    "zeros where the maximum is something else": SAFE.replace("G[p] == -inf", "G[p] == 0.0"),
    "zeros where the maximum is anything else": SAFE.replace("G[p] == -inf", "G[p] != -inf"),
    "ones where all are -inf": SAFE.replace("-inf, 0.0", "-inf, 1.0"),
    "zeros for products with what may be infinite": SAFE.replace("E[p, m] / D[p]", "E[p, m] * M[p, m] / D[p]"),
    "zeros twice": SAFE.replace("E[p, m] / D[p]", "select(G[p] == -inf, 0.0, E[p, m] / D[p])"),
    "a difference": SOFTMAX.replace("E[p, m] / D[p]", "E[p, m] - D[p]"),
    "division by the exponential": SOFTMAX.replace("E[p, m] / D[p]", "D[p] / E[p, m]"),
    "two exponentials": SOFTMAX.replace("E[p, m] / D[p]", "E[p, m] * E[p, m] / D[p]"),
    "a square in the sum": SOFTMAX.replace("sum(m:8) E[p, m]", "sum(m:8) E[p, m] * E[p, m]"),
    "exponentials of two maxima": "H: f32[p:6] = max(m:8) abs(S[p, m]) "
    + SOFTMAX.replace("E[p, m] / D[p]", "E[p, m] / D[p] * exp(abs(S[p, m]) - H[p])"),
    "a choice by the maximum": SOFTMAX.replace("E[p, m] / D[p]", "select(S[p, m] < G[p], E[p, m], 0.0)"),
    "a predicate": SOFTMAX.replace("sum(m:8) E[p, m]", "sum(m:8) E[p, m] where i64[m] < 5"),
    "the last of the elements": SOFTMAX.replace("max(m:8)", "last(m:8)"),
    "a state of two": "(A: f32, I: i64)[p:6] = argmax(m:8) S[p, m] P: f32[p:6, m:8] = S[p, m] * A[p] ",
    "a maximum of integers": "A: i32[p:6, m:8] = i32(S[p, m]) G: i32[p:6] = max(m:8) A[p, m] "
    "E: f32[p:6, m:8] = exp(f32(A[p, m]) - f32(G[p])) " + SUM + "P: f32[p:6, m:8] = E[p, m] / D[p] ",
    "a sum of a wider type": SOFTMAX.replace("D: f32[p:6] = sum(m:8) E[p, m]", "D: f64[p:6] = sum(m:8) f64(E[p, m])").replace(
        "/ D[p]", "/ f32(D[p])"
    ),
    "exponentials of a narrow type": "G: bf16[p:6] = max(m:8) T[p, m] E: bf16[p:6, m:8] = exp(T[p, m] - G[p]) "
    "D: bf16[p:6] = sum(m:8) E[p, m] P: f32[p:6, m:8] = f32(E[p, m] / D[p]) ",
    "no factor with the rank": SOFTMAX.replace("P: f32[p:6, m:8] = E[p, m] / D[p]", "N: f32[p:6] = sum(m:8) D[p] P: f32[p:6, m:8] = N[p] "),
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_does_not(body):
    assert find_forms(body + TAIL) is None


def test_a_tail_of_a_wider_type_is_refused():
    assert find_forms(SOFTMAX + "Z: f64[p:6, f:4] = sum(m:8) f64(P[p, m]) * f64(V[m, f])") is None


def test_the_type_of_every_read_has_to_be_known():
    cascade = read_cascade(SOFTMAX + TAIL, INPUTS)
    middle, last = fuse(cascade)
    assert find_one_pass(middle, last.root, "P", {}) is None


def test_what_is_found_names_reductions_and_counts_factors():
    cascade = read_cascade(SAFE.replace("E[p, m] / D[p]", "2.0 * E[p, m] / D[p]") + TAIL, INPUTS)
    middle, last = fuse(cascade)
    found = find_one_pass(middle, last.root, "P", {name: tensor.dtype for name, tensor in cascade.tensors().items()})
    assert found == OnePass((Form("G"), Form("D", "G"), Form("Z", "G", (0, 2), is_guarded=True)))
