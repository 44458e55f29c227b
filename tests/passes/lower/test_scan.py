"""Iterations as tile programs: state in registers or buffers, what is stored, and the order of old and new state."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import check_compiled, random_inputs

from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.target import Cpu

WIDE = Cpu("test", "x86_64", 128, 16, 1, 32 << 10, 1 << 20, 8 << 20, "cc")


def compiled(body, outputs="Z", inputs="X: f32[5, 16], A: f32[16, 4], C: f32[5, 4], W: f32[6, 6], H: f32[6]"):
    cascade = parse_cascade(f"cascade c({inputs}) -> ({outputs}) {{\n{body}\n}}")
    return check_compiled(cascade, random_inputs(cascade), target=WIDE)


def kernel_of(program):
    return next(str(kernel) for name, kernel in program.main.kernels if " t in " in str(kernel))


SCAN = """iterate t:5 {
  P: f32[t:5, d:16, n:4] = A[d, n] * S[t, d, n]
  S: f32[t + 1:6, d:16, n:4] = P[t, d, n] + X[t, d] from 0.5
  Y: f32[t:5, d:16] = sum(n:4) S[t + 1, d, n] * C[t, n]
}
Z: f32[t:5, d:16] = Y[t, d] * 2.0"""


def test_a_selective_scan_keeps_its_state_in_registers():
    text = kernel_of(compiled(SCAN))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[1:-3] == [
        "parallel d.1 in 0 .. 4 {",
        "block S: f32[n:4, d.0:4]",
        "S[n, d.0] over (n:4, d.0:4) = 0.5",
        "block x0_held: f32[n:4, d.0:4]",
        "x0_held[n, d.0] over (n:4, d.0:4) = x0[d.0 + 4*d.1, n]",
        "for t in 0 .. 5 {",
        "S[n, d.0] over (n:4, d.0:4) = x0_held[n, d.0] * S[n, d.0] + x1[t, d.0 + 4*d.1]",
        "block Y_2: f32[d.0:4]",
        "Y_2[d.0] over (d.0:4) = sum(n:4) S[n, d.0] * x2[t, n]",
        "Y_out[t, d.0 + 4*d.1] over (d.0:4) = Y_2[d.0]",
    ]


def test_history_is_stored_only_if_it_is_read():
    assert "S_out" not in kernel_of(compiled(SCAN))
    text = kernel_of(compiled(SCAN + "\nV: f32[d:16] = S[3, d, 0]", "Z, V"))
    assert "S_out[t + 1," in text and "S_out[0," in text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("S: f32[t + 1:6, d:6] = S[t, d] * 0.5 + H[d] from H[d]", "block", id="in place"),
        pytest.param("S: f32[t + 1:6, d:6] = S[t, 5 - d] * 0.5 + H[d] from H[d]", "S_next", id="turned"),
        pytest.param("S: f32[t + 1:6, d:6] = sum(k:6) S[t, k] * W[d, k] from H[d]", "S_next", id="a product with a matrix"),
        pytest.param(
            "S: f32[t + 1:6, d:6] = S[t, d] * 0.5 + H[d] from H[d]\nU: f32[t + 1:6, d:6] = U[t, d] + S[t, d] - S[t + 1, d] from 0.0",
            "S_next",
            id="old state read after the new one is made",
        ),
        pytest.param(
            "P: f32[t:5, d:6] = exp(-S[t, d])\nS: f32[t + 1:6, d:6] = S[t, d] * 0.5 from H[d]\n"
            "U: f32[t + 1:6, d:6] = U[t, d] + P[t, d] * S[t + 1, d] from 0.0",
            "S_next",
            id="old state read by a map that merges into a later reader",
        ),
        pytest.param("S: f32[t + 1:6, d:6] = max(k:6) (S[t, k + d - 2] else 0.0) * W[d, k] from H[d]", "buffer", id="windows"),
        pytest.param(
            "S: f32[t + 1:6, d:6] = sum(k:6) S[t, k] * W[d, k] where k >= d from H[d]".replace("k >= d", "i64[k] >= i64[d]"),
            "buffer",
            id="a triangle",
        ),
    ],
)
def test_old_and_new_state(body, expected):
    names = "SU" if "U:" in body else "S"
    outputs = "\n".join(f"Z{n}: f32[d:6] = {n}[5, d] + {n}[2, d]" for n in names)
    program = compiled(f"iterate t:5 {{\n{body}\n}}\n{outputs}", ", ".join(f"Z{n}" for n in names))
    assert expected in kernel_of(program)


def test_state_too_large_to_hold_stays_in_memory():
    body = "iterate t:3 { S: f32[t + 1:4, n:5000] = S[t, 4999 - n] + V[n] from 0.0 }\nZ: f32[n:5000] = S[3, n]"
    text = kernel_of(compiled(body, inputs="V: f32[5000]"))
    assert "S_out[(t + 1) % 2," in text and "block" not in text and "buffer" not in text


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_products_with_a_matrix(size, hidden, batch, turned):
    weight, shape = ("W[d, k]", (hidden, size)) if turned else ("W[k, d]", (size, hidden))
    body = f"""iterate t:3 {{
      P: f32[t:3, b:{batch}, d:{hidden}] = sum(k:{size}) S[t, b, k] * {weight}
      Q: f32[t:3, b:{batch}, d:{hidden}] = tanh(P[t, b, d]) * X[t, d]
      S: f32[t + 1:4, b:{batch}, k:{size}] = S[t, b, k] + Q[t, b, 0] from 0.25
    }}
    Z: f32[t:3, b:{batch}, d:{hidden}] = Q[t, b, d]"""
    compiled(body, inputs=f"W: f32[{shape[0]}, {shape[1]}], X: f32[3, {hidden}]")
