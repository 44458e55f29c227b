"""Narrow floats stay wide inside a kernel unless numerics are strict."""

import pytest

from tcomp.ir.cascade import print_einsum
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.groups.widen import widen_groups
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.pipeline import compile_cascade
from tests.program_runner import check_compiled, random_inputs, small_target

INPUTS = "X: bf16[8], H: f16[8], F: f32[8], B: bf16[8, 6], C: bf16[6, 8]"


def widened(body, outputs="Z"):
    cascade = parse_cascade(f"cascade c({INPUTS}) -> ({outputs}) {{ {body} }}")
    groups = fuse(cascade)
    after = widen_groups(groups, cascade, lambda name: True)
    assert after == groups or after is not groups
    return after is groups, [print_einsum(e) for group in after for e in group.members]


def test_a_chain_of_maps():
    body = """A: bf16[i:8] = bf16(f32(X[i]) * 2.0)
    D: bf16[i:8] = bf16(exp(f32(A[i])) + f32(A[i]))
    Z: bf16[i:8] = bf16(-f32(D[i]))"""
    assert widened(body)[1] == [
        "A: f32[i:8] = f32(X[i]) * 2.0",
        "D: f32[i:8] = exp(A[i]) + A[i]",
        "Z: bf16[i:8] = bf16(-D[i])",
    ]


def test_an_epilogue():
    body = """Y: f32[i:8, j:8] = sum(k:6) f32(B[i, k]) * f32(C[k, j])
    A: bf16[i:8, j:8] = bf16(Y[i, j])
    Z: bf16[i:8, j:8] = bf16(f32(A[i, j]) + f32(X[j]))"""
    assert widened(body)[1][1:] == [
        "A: f32[i:8, j:8] = Y[i, j]",
        "Z: bf16[i:8, j:8] = bf16(A[i, j] + f32(X[j]))",
    ]


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("A: bf16[i:8] = bf16(f32(X[i]) * 2.0) Z: f32[i:8] = f32(A[i])", "A, Z"),
        ("A: bf16[i:8] = X[i] + X[i] Z: f32[i:8] = f32(A[i])", "Z"),
        ("A: bf16[i:8] = bf16(F[i]) Z: bf16[i:8] = -A[i]", "Z"),
        ("A: bf16[i:8] = bf16(F[i]) Z: f32[i:8] = f32(A[i]) + f32(A[i] * X[i])", "Z"),
        ("A: bf16[i:8] = bf16(F[i]) Z: f64[i:8] = f64(A[i])", "Z"),
        ("A: bf16[i:8] = bf16(H[i]) Z: f32[i:8] = f32(A[i])", "Z"),
        ("A: f32[i:8] = F[i] * 2.0 Z: f32[i:8] = A[i] + 1.0", "Z"),
        ("A: i8[i:8] = i8(F[i]) Z: f32[i:8] = f32(A[i])", "Z"),
        ("A: e4m3[i:8] = e4m3(F[i]) Z: f32[i:8] = f32(A[i])", "Z"),
        ("A: bf16[i:8] = bf16(F[i] * 2.0) Z: f32[i:8] = f32(A[7 - i])", "Z"),
    ],
)
def test_refusals(body, outputs):
    unchanged, _ = widened(body, outputs)
    assert unchanged


def test_strict_kernels_round_between_maps():
    body = "A: bf16[i:8] = bf16(f32(X[i]) * 3.0) Z: bf16[i:8] = bf16(exp(f32(A[i])))"
    cascade = parse_cascade(f"cascade c({INPUTS}) -> (Z) {{ {body} }}")
    texts = [
        str(compile_cascade(cascade, {}, small_target(), strict=strict).main.kernels[0][1]) for strict in (False, True)
    ]
    assert [text.count("bf16(") for text in texts] == [1, 2]
    check_compiled(cascade, random_inputs(cascade))
