"""Beyond which limits nobody looks at a block."""

import pytest

from tcomp.codegen.triton.liveness import Liveness
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Block

ARGUMENTS = "in X: f32[M, 8], in I: i64[8], out Y: f32[M, 8], out S: f32[]"


def dead(body):
    """The dead axes of each statement that writes a block, in order."""
    kernel = parse_kernel(f"kernel k({ARGUMENTS}) for M in 1..100 {{ {body} }}")
    liveness = Liveness(kernel)
    return ["".join(sorted(liveness.dead_axes(s))) for s in liveness.sites if isinstance(s.places[s.assign.target], Block)]


@pytest.mark.parametrize(
    ("body", "axes"),
    [
        # everybody has the limit
        ("block b: f32[m:8] b[m] over (m:8 < M) = X[m, 0] Y[m, 0] over (m:8 < M) = b[m]", ["m"]),
        # somebody has another, or none
        ("block b: f32[m:8] b[m] over (m:8 < M) = X[m, 0] Y[m, 0] over (m:8 < M - 1) = b[m]", [""]),
        ("block b: f32[m:8] b[m] over (m:8 < M) = X[m, 0] S[] over () = sum(m:8) b[m]", [""]),
        ("block b: f32[m:8] b[m] over (m:8 < M) = X[m, 0] S[] over () = sum(m:8 < M) b[m]", ["m"]),
        # nobody reads
        ("block b: f32[m:8] b[m] over (m:8 < M) = X[m, 0]", ["m"]),
        # passed on to another block, or to itself
        ("block b: f32[m:8] block c: f32[m:8] b[m] over (m:8 < M) = X[m, 0] c[m] over (m:8) = b[m] Y[m, 0] over (m:8 < M) = c[m]",
         ["m", ""]),
        ("block b: f32[m:8] block c: f32[m:8] b[m] over (m:8 < M) = X[m, 0] c[m] over (m:8) = b[m] Y[m, 0] over (m:8) = c[m]", ["", ""]),
        ("block b: f32[m:8] b[m] over (m:8) = 0.0 b[m] over (m:8 < M) sum= X[m, 0] b[m] over (m:8) = b[m] * 2.0 "
         "Y[m, 0] over (m:8 < M) = b[m]", ["", "m", ""]),
        ("block b: f32[m:8] block c: f32[m:8] c[m] over (m:8) = 1.0 b[m] over (m:8 < M) = X[m, 0] c[m] over (m:8) sum= b[m] "
         "Y[m, 0] over (m:8 < M) = c[m]", ["", "m", ""]),
        # one axis of two
        ("block b: f32[m:8, n:8] b[m, n] over (m:8 < M, n:8 < M - 1) = X[m, n] Y[m, n] over (m:8 < M, n:8) = b[m, n]", ["m"]),
        # a limit that changes while the block lives
        ("block b: f32[m:8] b[m] over (m:8) = 0.0 for t in 0 .. 3 { b[m] over (m:8 < M - t) sum= X[m, 0] "
         "Y[m, 0] over (m:8 < M - t) = b[m] }", ["", ""]),
        ("for t in 0 .. 3 { block b: f32[m:8] b[m] over (m:8 < M - t) = X[m, 0] Y[m, 0] over (m:8 < M - t) = b[m] }", ["m"]),
        # indices
        ("block b: i64[m:8] b[m] over (m:8 < M) = I[m] Y[m, 0] over (m:8 < M) = X[b[m], 0]", [""]),
    ],
)  # fmt: skip
def test_dead_axes(body, axes):
    assert dead(body) == axes
