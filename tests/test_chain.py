"""Chains of kernels through rows in cache: what is joined, what is not, and that both compute the same."""

from dataclasses import replace

import pytest

from tcomp.ir.parser import parse_cascade
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
