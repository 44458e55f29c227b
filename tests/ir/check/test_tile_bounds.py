"""Accesses that provably leave their memory are refused, whatever loop, limit or symbol takes them there; others are not."""

import re

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.check.tile_bounds import UNBOUNDED_STEP, check_bounds, evaluate_at
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.cascade import parse_index
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile_scope import find_sites

ARGUMENTS = "in X: f32[20], in I: i64[20], in S: f32[N, M], inout Y: f32[20]"


def check(body):
    for site in find_sites(parse_kernel(f"kernel k({ARGUMENTS}) for N in 1.., M in 4..8 {{ {body} }}")):
        check_bounds(site)


@pytest.mark.parametrize(
    "body",
    [
        "for m in 0 .. 20 step 8 { Y[m + i] over (i:8 < -m + 20) = X[m + i] }",
        "for m in 0 .. 20 step 8 { for k in 0 .. 8 step 4 { Y[m + k + i] over (i:4 < -m - k + 20) = X[m + k + i] } }",
        "for m in 4 .. 20 step 6 { Y[m] over () = X[m + 3] }",
        "for n in 0 .. N step 8 { Y[0] over () sum= sum(i:8 < N - n, j:4) S[n + i, j] }",
        "for n in 0 .. N { for j in 0 .. M { Y[0] over () = S[n, j] } }",
        "Y[i] over (i:8) = X[I[i]]",
        "Y[i] over (i:20) = (X[i + 5] else 0.0)",
        "Y[i + 5] over (i:20) = X[i] where i64[i] < 15",
        "for n in 0 .. 0 { Y[n + 30] over () = 0.0 }",
        "Y[i + 30] over (i:8 < 0) = 0.0",
        "buffer b: f32[4, 4] b[i // 4, i % 4] over (i:16) = X[i]",
        "for n in 8 .. N { Y[0] over () = S[n - 8, 0] }",
    ],
)
def test_accesses_that_stay_inside_are_accepted(body):
    check(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("for m in 0 .. 20 step 8 { Y[m + i] over (i:8) = 0.0 }", "Y[i + m] is outside: 23 is not in 0 .. 20, at m = 16, i = 7"),
        ("for m in 0 .. 20 step 8 { Y[0] over () = sum(i:8 < -m + 21) X[m + i] }", "20 is not in 0 .. 20"),
        ("for m in 4 .. 20 step 5 { Y[0] over () = X[m + 2] }", "21 is not in 0 .. 20"),
        ("for m in 0 .. 4 { for k in m .. m + 18 { Y[k] over () = 0.0 } }", "20 is not in 0 .. 20"),
        ("Y[i] over (i:8) = X[i - 1]", "-1 is not in 0 .. 20"),
        ("for n in 0 .. N step 8 { Y[0] over () sum= sum(i:8) S[n + i, 0] }", "7 is not in 0 .. 1"),
        ("Y[0] over () = S[0, 4]", "4 is not in 0 .. 4"),
        ("for n in 0 .. N + 1 { Y[0] over () = S[n, 0] }", "1 is not in 0 .. 1"),
        ("Y[0] over () = X[M + 12]", "20 is not in 0 .. 20"),
        ("for n in 0 .. 20 step 4 { Y[n] over () = X[N // 3] }", "20 is not in 0 .. 20"),
        ("Y[i + 5] over (i:20) = 0.0 where X[0] > 0.0 Y[i + 5] over (i:20) = 0.0", "24 is not in 0 .. 20"),
        ("Y[20] over () = sum(i:20) X[i] where i64[i] < 15", "20 is not in 0 .. 20"),
        ("Y[i] over (i:8) = X[I[i + 13]]", "I[i + 13] is outside: 20 is not in 0 .. 20, at i = 7"),
        ("buffer b: f32[4, 3] b[i // 4, i % 4] over (i:16) = X[i]", "3 is not in 0 .. 3"),
        ("block b: f32[i:8] Y[i + 13] over (i:8) = b[i]", "20 is not in 0 .. 20"),
    ],
)
def test_accesses_that_provably_leave_are_refused(body, message):
    with pytest.raises(VerifyError, match=re.escape(message)):
        check(body)


@st.composite
def tiled_loops(draw):
    """A loop of tiles over 20 elements whose index, step and limit need not fit together."""
    size, step, slope, shift, bound = (draw(st.integers(*ends)) for ends in ((1, 6), (1, 8), (-2, 3), (-2, 4), (12, 24)))
    limit = draw(st.sampled_from(["", f" < {bound} - m", f" < {bound} - m // 2"]))
    stop = draw(st.sampled_from(["20", "N + 12"]))
    return f"for m in 0 .. {stop} step {step} {{ Y[{slope}*i + m + {shift}] over (i:{size}{limit}) sum= 1.0 }}"


@given(tiled_loops())
def test_what_is_refused_really_leaves_its_memory(body):
    """A corner is a point that runs: where the check shows a fault, so does the evaluator; without limits it misses none."""
    kernel = parse_kernel(f"kernel k(inout Y: f32[20]) for N in 1.. {{ {body} }}")
    leaves = []
    for size in (1, 1 + UNBOUNDED_STEP):
        try:
            evaluate_kernel(kernel, {"Y": numpy.zeros(20, numpy.float32)}, {"N": size})
        except VerifyError:
            leaves.append(size)
    try:
        for site in find_sites(kernel):
            check_bounds(site)
        assert not leaves or "<" in body
    except VerifyError:
        assert leaves


@given(st.integers(-40, 40), st.integers(-9, 9), st.integers(1, 9))
def test_indices_are_evaluated_as_python_does(x, y, z):
    point = {"x": x, "y": y, "z": z}
    for text in ("x", "3*x - 2*y + 7", "x*y - z", "x // z + x % z", "(x + y) // 4 * 2", "x // (z + 1) % 3"):
        assert evaluate_at(parse_index(text), point) == eval(text, {}, point)


def test_what_is_loaded_has_no_value():
    assert evaluate_at(parse_index("2*I[x] + 1"), {"x": 1}) is None
    assert evaluate_at(parse_index("I[x] // 2"), {"x": 1}) is None
