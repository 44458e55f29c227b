"""The rewrites before printing, as text to text, and where they do not apply."""

import pytest

from tcomp.codegen.c.prepare import prepare_kernel
from tcomp.ir.check.tile import check_kernel
from tcomp.ir.parse.tile import parse_kernel


def prepare(arguments, body, lanes=16):
    kernel = parse_kernel(f"kernel k({arguments}) {{\n{body}\n}}")
    prepared = prepare_kernel(kernel, lanes)
    check_kernel(prepared)
    return kernel, prepared, "\n".join(line[2:] for line in str(prepared).splitlines()[1:-1])


def test_colliding_merges_become_reductions():
    _, _, text = prepare("in X: f32[4, 8], inout Y: f32[4]", "Y[r] over (r:4, i:8) sum= X[r, i]")
    assert text == "Y[r] over (r:4) sum= sum(i:8) X[r, i]"


def test_collisions_that_are_reduced_already_join():
    _, _, text = prepare("in X: f32[4, 8], inout Y: f32[1]", "Y[0] over (r:4) max= max(i:8) X[r, i]")
    assert text == "Y[0] over () max= max(r:4, i:8) X[r, i]"


@pytest.mark.parametrize(
    "statement",
    ["Y[r] over (r:4) sum= X[r, 0]", "Y[r] over (r:4) = X[r, 0]", "Y[r] over (r:4) max= sum(i:8) X[r, i]"],
)
def test_what_does_not_collide_stays(statement):
    kernel, prepared, _ = prepare("in X: f32[4, 8], inout Y: f32[4]", statement)
    assert prepared == kernel


ROWS = """parallel r in 0 .. 9 {
  block s: f32[]
  s[] over () = 0.0
  for k in 0 .. 100 step 32 {
    s[] over () sum= sum(k.0:32 < 100 - k) X[r, k + k.0]
  }
  Y[r] over () = s[]
}"""


def test_reductions_in_loops_keep_their_lanes_apart():
    _, _, text = prepare("in X: f32[9, 100], out Y: f32[9]", ROWS)
    assert text == """parallel r in 0 .. 9 {
  block s: f32[]
  s[] over () = 0.0
  block s.lanes: f32[k.0:32]
  s.lanes[k.0] over (k.0:32) = 0.0
  for k in 0 .. 100 step 32 {
    s.lanes[k.0] over (k.0:32 < 100 - k) sum= X[r, k + k.0]
  }
  s[] over () sum= sum(k.0:32) s.lanes[k.0]
  Y[r] over () = s[]
}"""


def test_several_rows_and_nested_loops():
    body = """block s: f32[r.0:2]
s[r.0] over (r.0:2) = 0.0
for a in 0 .. 4 {
  for k in 0 .. 64 step 16 {
    s[r.0] over (r.0:2) sum= sum(k.0:16) X[r.0, a, k + k.0]
  }
}
Y[r.0] over (r.0:2) = s[r.0]"""
    _, _, text = prepare("in X: f32[2, 4, 64], out Y: f32[2]", body)
    assert "  s.lanes[r.0, k.0] over (r.0:2, k.0:16) sum= X[r.0, a, k + k.0]" in text
    assert text.index("s[r.0] over (r.0:2) sum= sum(k.0:16) s.lanes[r.0, k.0]") > text.rindex("}")


@pytest.mark.parametrize(
    "body",
    [
        # The loop reads the sum at every step,
        ROWS.replace("\n  }", "\n    Y[r] over () = s[]\n  }", 1),
        # starts it anew at every step,
        ROWS.replace("    s[] over () sum=", "    s[] over () = 0.0\n    s[] over () sum="),
        # merges it otherwise than it reduces,
        ROWS.replace("sum= sum(", "max= sum("),
        # or already has lanes along what it writes.
        ROWS.replace("s: f32[]", "s: f32[i:16]").replace("s[] over ()", "s[i] over (i:16)").replace("sum(k.0:32 < 100 - k)", "sum(k.0:32)")
        .replace("X[r, k + k.0]", "X[k.0 % 9, i]").replace("Y[r] over () = s[]", "Y[r] over () = 1.0"),
        # Sixty-four lanes of eight rows would take too many registers.
        ROWS.replace("s: f32[]", "s: f32[i:8]").replace("s[] over ()", "s[i] over (i:8)").replace("k.0:32 < 100 - k", "k.0:64")
        .replace("X[r, k + k.0]", "X[i, k.0]").replace("Y[r] over () = s[]", "Y[r] over () = 1.0"),
    ],
)  # fmt: skip
def test_reductions_that_stay(body):
    kernel, prepared, _ = prepare("in X: f32[9, 100], out Y: f32[9]", body)
    assert prepared == kernel
