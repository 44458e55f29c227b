"""The checker of groups sees what passes may break."""

from dataclasses import replace

import pytest
from program_runner import small_target

from tcomp.ir.errors import VerifyError
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.bind.windows import open_windows
from tcomp.passes.groups.check import check_groups
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.guess.windows import choose_window

CASCADE = parse_cascade("""cascade c(X: f32[40, 64], W: f32[64, 8], I: i64[40]) -> (Z, S) {
  Y: f32[i:40, j:8] = sum(k:64) X[i, k] * W[k, j]
  M: f32[i:40] = max(j:8) Y[i, j]
  Z: f32[i:40, j:8] = exp(Y[i, j] - M[i])
  iterate t:40 { S: f32[t + 1:41, j:8] = tanh(S[t, j] + Y[t, j]) from 0.0 }
}""")


def test_what_fuse_makes_is_right():
    check_groups(fuse(CASCADE), CASCADE)


def forget(groups, name):
    return tuple(replace(g, stored=tuple(n for n in g.stored if n != name)) for g in groups)


BROKEN = {
    "Y is read, and no group before stores it": lambda groups: forget(groups, "Y"),
    "is read, and no group before": lambda groups: groups[::-1],
    "no group stores the output Z": lambda groups: forget(groups, "Z"),
    "Z is stored twice": lambda groups: (*groups, groups[1]),
    "Q is stored, and no member defines it": lambda groups: (replace(groups[0], stored=("Y", "Q")), *groups[1:]),
}


@pytest.mark.parametrize(("told", "change"), BROKEN.items(), ids=BROKEN)
def test_faults_are_seen(told, change):
    with pytest.raises(VerifyError, match=told):
        check_groups(change(fuse(CASCADE)), CASCADE)


def test_a_window_has_one_iteration():
    cascade = parse_cascade("""cascade c(X: f32[40, 64], W: f32[64, 8]) -> (S) {
      Y: f32[i:40, j:8] = sum(k:64) X[i, k] * W[k, j]
      iterate t:40 { S: f32[t + 1:41, j:8] = tanh(S[t, j] + Y[t, j]) from 0.0 }
    }""")
    target = replace(small_target(), l2=128)
    groups = open_windows(fuse(cascade), cascade.outputs, lambda group, need: choose_window(group, need, target))
    assert [g.window is None for g in groups] == [False, False]
    check_groups(groups, cascade)
    with pytest.raises(VerifyError, match="the window of S has groups contract"):
        check_groups((groups[0], replace(groups[1], window=None)), cascade)
