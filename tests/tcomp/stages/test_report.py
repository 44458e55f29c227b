"""Why einsums are one kernel, in a sentence for each kind of kernel."""

from dataclasses import replace

import pytest

from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.pipeline import compile_cascade
from tcomp.stages.report import explain_group
from tests.gpu_targets import HOPPER
from tests.passes.lower.gpu.test_lower_gpu import ATTENTION
from tests.program_runner import small_target

CASES = {
    "contract": (
        """cascade f(X: f32[8, 16], W: f32[16, 32]) -> (Z) {
          Y: f32[i:8, j:32] = sum(k:16) X[i, k] * W[k, j]
          Z: f32[i:8, j:32] = maximum(Y[i, j], 0.0)
        }""",
        "Y is a contraction over i:8, j:32; Z over the same ranks, computed on its tile before it is stored; Y never reaches memory",
    ),
    "nest": (
        """cascade f(X: f32[8, 16]) -> (M) {
          M: f32[i:8] = max(k:16) X[i, k]
        }""",
        "M runs over i:8, inside it over k:16",
    ),
    "scatter": (
        """cascade f(X: f32[8], I: i64[8]) -> (Y) {
          Y: f32[I[k]:4] = sum(k:8) X[k]
        }""",
        "Y stores where its indices say, independently over a single point",
    ),
    "scan": (
        """cascade f(A: f32[6, 8], B: f32[6, 8]) -> (S) {
          iterate t:6 {
            S: f32[t + 1:7, d:8] = A[t, d] * S[t, d] + B[t, d] from 0.0
          }
        }""",
        "S is computed step by step along t, independently over d:8",
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_groups_are_explained(kind):
    text, sentence = CASES[kind]
    (group,) = fuse(parse_cascade(text))
    assert group.kind == kind
    assert explain_group(group) == sentence


def test_a_chain_is_explained():
    cascade = parse_cascade(
        """cascade f(X: f32[24, 16], W: f32[40, 16], U: f32[40, 12]) -> (Z) {
          H: f32[i:24, j:40] = sum(e:16) X[i, e] * W[j, e]
          Q: f32[i:24] = sum(j:40) H[i, j] * H[i, j]
          N: f32[i:24, j:40] = H[i, j] * rsqrt(Q[i] / 40.0 + 0.001)
          Z: f32[i:24, k:12] = sum(j:40) N[i, j] * U[j, k]
        }"""
    )
    # So little cache that some rows of H fit, and all of H does not.
    compiled = compile_cascade(cascade, {}, replace(small_target(), l2=7000))
    (chain,) = (group for group in compiled.main.groups if group.kind == "chain")
    assert explain_group(chain) == (
        "H and Z are contractions over i:24, chained through rows that stay in cache; Q and N on those rows between them; "
        "H, Q and N never reach memory"
    )


def test_a_chain_on_a_gpu_is_one_pass():
    (chain,) = compile_cascade(parse_cascade(ATTENTION), {}, HOPPER).main.groups
    assert explain_group(chain, is_gpu=True) == (
        "S and Z are contractions over h:3, i:70, in one pass over j:90 between them; G, E, D and P run along, and sums are "
        "corrected where a maximum that they subtract moves; S, T, G, E, D and P never reach memory"
    )
