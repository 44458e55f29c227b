"""Chains of kernels through rows in cache: what is joined, what is not, and that both compute the same."""

import math
from dataclasses import replace

import pytest

from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.pipeline import compile_cascade
from tests.program_runner import check_compiled, random_inputs, small_target

ATTENTION = """cascade attention(Q: f32[3, {rows}, 16], K: f32[3, 42, 16], V: f32[3, 42, 20], B: f32[{rows}, 42]) -> ({outputs}) {{
  S: f32[h:3, i:{rows}, j:42] = sum(e:16) Q[h, i, e] * K[h, j, e]
  T: f32[h:3, i:{rows}, j:42] = S[h, i, j] / 4.0 + B[i, j]
  M: f32[h:3, i:{rows}] = max(j:42) T[h, i, j]
  E: f32[h:3, i:{rows}, j:42] = exp(T[h, i, j] - M[h, i])
  D: f32[h:3, i:{rows}] = sum(j:42) E[h, i, j]
  A: f32[h:3, i:{rows}, j:42] = E[h, i, j] / D[h, i]
  Z: f32[h:3, i:{rows}, d:20] = sum(j:42) A[h, i, j] * V[h, j, d]
  Y: f32[h:3, i:{rows}, d:20] = maximum(Z[h, i, d], 0.0)
}}"""

SAFE = """cascade safe(Q: f32[24, 16], K: f32[40, 16], V: f32[40, 20], M: bool[24, 40]) -> (Z) {
  S: f32[i:24, j:40] = sum(e:16) Q[i, e] * K[j, e]
  T: f32[i:24, j:40] = S[i, j] + select(M[i, j], 0.0, -inf)
  G: f32[i:24] = max(j:40) T[i, j]
  E: f32[i:24, j:40] = exp(T[i, j] - G[i])
  D: f32[i:24] = sum(j:40) E[i, j]
  A: f32[i:24, j:40] = E[i, j] / D[i]
  N: bool[i:24, j:40] = T[i, j] == -inf
  O: bool[i:24] = any(j:40) !N[i, j]
  P: f32[i:24, j:40] = select(!O[i], 0.0, A[i, j])
  Z: f32[i:24, d:20] = sum(j:40) P[i, j] * V[j, d]
}"""
"""Rows that see nothing are 0: whether there are any is asked of all elements, which the chain must not need in memory."""

NORMALISED = """cascade f(X: f32[24, 16], W: f32[40, 16], U: f32[40, 12]) -> (Z) {
  H: f32[i:24, j:40] = sum(e:16) X[i, e] * W[j, e]
  Q: f32[i:24] = sum(j:40) H[i, j] * H[i, j]
  N: f32[i:24, j:40] = H[i, j] * rsqrt(Q[i] / 40.0 + 0.001)
  Z: f32[i:24, k:12] = sum(j:40) N[i, j] * U[j, k]
}"""


def tiny_cache():
    """A machine whose cache holds some rows of the tensors above, and not all."""
    return replace(small_target(), l2=2048 * 3)


def attention(rows=24, outputs="Y"):
    return parse_cascade(ATTENTION.format(rows=rows, outputs=outputs))


def kinds(cascade, target):
    return [group.kind for group in compile_cascade(cascade, {}, target).main.groups]


@pytest.mark.parametrize("cascade", [attention(), parse_cascade(NORMALISED)], ids=["softmax", "norm"])
def test_a_nest_between_contractions_is_chained(cascade):
    target = replace(tiny_cache(), l2=7000 if cascade.name == "f" else 12000)
    assert "chain" in kinds(cascade, target)
    check_compiled(cascade, random_inputs(cascade), target=target, shuffle=1)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("strict", [False, True])
def test_rows_that_may_see_nothing_are_chained(strict, value):
    cascade = parse_cascade(SAFE)
    inputs = random_inputs(cascade)
    inputs["M"][3:9] = False
    inputs["Q"][5, 1] = inputs["K"][7, 2] = value
    compiled = check_compiled(cascade, inputs, target=replace(tiny_cache(), l2=7000), shuffle=1, strict=strict)
    assert [group.kind for group in compiled.main.groups if group.kind != "nest"] == ["chain"]
    if not value:
        assert not evaluate(cascade, inputs)["Z"][3:9].any()


def test_what_fits_in_cache_stays_apart():
    assert "chain" not in kinds(attention(), replace(tiny_cache(), l2=1 << 20))


def test_a_tensor_that_is_read_elsewhere_stays_in_memory():
    target = replace(tiny_cache(), l2=12000)
    assert "chain" not in kinds(attention(outputs="Y, A"), target)
    assert "chain" not in kinds(attention(outputs="Y, T"), target)


def test_rows_that_no_tile_divides_stay_apart():
    assert "chain" not in kinds(attention(rows=23), replace(tiny_cache(), l2=12000))


def test_rows_too_long_for_the_cache_stay_apart():
    assert "chain" not in kinds(attention(), replace(tiny_cache(), l2=1024))
