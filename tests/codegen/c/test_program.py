"""Where a program waits, and plans that do not fit their kernels."""

import pytest

from tcomp.codegen.c.program import find_barriers, program_source
from tcomp.ir.errors import VerifyError
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.tile import parse_kernel

COPY = parse_kernel("kernel copy(in X: f32[16], out Y: f32[16]) { Y[i.0] over (i.0:16) = X[i.0] }")
GROW = parse_kernel("""kernel grow(in X: f32[N], out Y: f32[N]) for N in 1.. {
  parallel i in 0 .. N { Y[i] over () = X[i] } }""")
PLACES = parse_kernel("""kernel columns(in X: f32[4, 4] strides (8, 1), out Y: f32[4, 4] strides (8, 1)) {
  Y[i.0, j.0] over (i.0:4, j.0:4) = X[i.0, j.0] }""")
KERNELS = {"copy": COPY, "grow": GROW, "columns": PLACES}


@pytest.mark.parametrize(
    ("steps", "waits"),
    [
        # What a step writes is waited for by the next that reads it,
        (["copy(X + 0, arena + 0)", "copy(arena + 0, Y + 0)"], [False, True]),
        # by one that overwrites what it reads,
        (["copy(arena + 0, Y + 0)", "copy(X + 0, arena + 0)"], [False, True]),
        # and by one that writes the same bytes.
        (["copy(X + 0, arena + 0)", "copy(X + 0, arena + 60)"], [False, True]),
        # Neighbours do not touch, and two may read the same.
        (["copy(X + 0, arena + 0)", "copy(X + 0, arena + 64)"], [False, False]),
        (["copy(X + 0, arena + 0)", "copy(X + 0, Y + 0)"], [False, False]),
        # A barrier settles all that came before it, not only the step it was needed for.
        (
            ["copy(X + 0, arena + 0)", "copy(X + 0, arena + 64)", "copy(arena + 0, arena + 128)", "copy(arena + 64, Y + 0)"],
            [False, False, True, False],
        ),
        # The step that waits is itself waited for.
        (["copy(X + 0, arena + 0)", "copy(arena + 0, arena + 64)", "copy(arena + 64, Y + 0)"], [False, True, True]),
        # Symbolic sizes: proved apart, and not proved.
        (["grow(X + 0, arena + 0)", "grow(X + 0, arena + 4*N)"], [False, False]),
        (["grow(X + 0, arena + 0)", "grow(X + 0, arena + 64)"], [False, True]),
        # Strides: the extent is that of the last element.
        (["columns(X + 0, arena + 0)", "columns(X + 0, arena + 112)"], [False, False]),
        (["columns(X + 0, arena + 0)", "columns(X + 0, arena + 108)"], [False, True]),
    ],
)
def test_steps_wait_for_what_they_touch(steps, waits):
    plan = parse_plan("plan (X, Y) arena 1000 for N in 1.. {\n  " + "\n  ".join(steps) + "\n}")
    assert find_barriers(plan, KERNELS) == waits


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("plan (X, Y) arena 0 {\n  nothing(X + 0, Y + 0)\n}", "calls nothing"),
        ("plan (X, Y) arena 0 {\n  copy(X + 0)\n}", "has 2 arguments and is called with 1"),
        ("plan (X, Y) arena 0 {\n  grow(X + 0, Y + 0)\n}", "needs the symbol N"),
    ],
)
def test_plans_that_do_not_fit_are_refused(plan, message):
    with pytest.raises(VerifyError, match=message):
        program_source(parse_plan(plan), KERNELS)
