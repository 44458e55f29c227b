"""Why einsums are one kernel, in a sentence for each kind of kernel."""

import pytest

from tcomp.ir.parser import parse_cascade
from tcomp.passes.fuse import fuse
from tcomp.stage_report import explain_group

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
}


@pytest.mark.parametrize("kind", CASES)
def test_groups_are_explained(kind):
    text, sentence = CASES[kind]
    (group,) = fuse(parse_cascade(text))
    assert group.kind == kind
    assert explain_group(group) == sentence
