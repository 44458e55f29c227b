"""Iterations in windows: what is computed ahead of them takes the memory of one, and every window goes on where the last one ended."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import check_compiled, random_inputs

from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.target import Cpu

TINY = Cpu("test", "x86_64", 128, 16, 2, 32 << 10, 1 << 10, 8 << 20, "cc")
"""A machine whose cache holds a few steps of what follows: 8 of 128 bytes."""

PRODUCT = "P: f32[t:{T}, i:4, j:8] = sum(r:16) X[t, i, r] * W[j, r]"
INPUTS = "X: f32[{T}, 4, 16], W: f32[8, 16], V: f32[8, 8], H: f32[4, 8]"


def cascade_of(body, readers="Z: f32[t:{T}, i:4, j:8] = S[t + 1, i, j]", steps=48, outputs="Z", ahead=PRODUCT):
    text = f"cascade c({INPUTS}) -> ({outputs}) {{ {ahead} iterate t:{{T}} {{ {body} }} {readers} }}"
    return parse_cascade(text.replace("{T}", str(steps)).replace("{T + 1}", str(steps + 1)))


STEP = "S: f32[t + 1:{T + 1}, i:4, j:8] = tanh(P[t, i, j] + 0.5 * S[t, i, j]) from H[i, j]"
RECURRENT = """R: f32[t:{T}, i:4, j:8] = sum(k:8) S[t, i, k] * V[j, k]
    C: f32[t + 1:{T + 1}, i:4, j:8] = 0.5 * C[t, i, j] + R[t, i, j] * P[t, i, j] from 0.25
    S: f32[t + 1:{T + 1}, i:4, j:8] = tanh(P[t, i, j] + C[t + 1, i, j]) from H[i, j]"""
SHIFTED = """Q: f32[t:{T}, i:4, j:8] = exp(P[t, i, j])
    S: f32[t + 1:{T + 1}, i:4, j:8] = 0.5 * S[t, i, j] + (Q[t, i, j - 1] else 1.0) from H[i, j]"""
TURNED = "S: f32[t + 1:{T + 1}, i:4, j:8] = P[t, i, j] + 0.5 * S[t, 3 - i, j] from H[i, j]"
LAST = "Z: f32[i:4, j:8] = S[{T}, i, j]"


def count_windows(compiled):
    return sum(group.kind == "scan" for group in compiled.main.groups)


@pytest.mark.parametrize(
    ("body", "readers"),
    [
        pytest.param(STEP, "Z: f32[t:{T}, i:4, j:8] = S[t + 1, i, j]", id="all steps are read"),
        pytest.param(STEP, LAST, id="the last step is read"),
        pytest.param(RECURRENT, "Z: f32[t:{T}, i:4, j:8] = S[t + 1, i, j]", id="two are carried, of which one is read"),
        pytest.param(TURNED, LAST, id="rows change places"),
        pytest.param(SHIFTED, LAST, id="a neighbour that may not be there"),
    ],
)
@pytest.mark.parametrize(("steps", "windows"), [(48, 6), (46, 6), (47, 6), (33, 5)])
@pytest.mark.parametrize("held", [4096, 8])
def test_the_product_takes_the_memory_of_one_window(monkeypatch, body, readers, steps, windows, held):
    monkeypatch.setattr("tcomp.passes.guess.hold.LARGEST_HELD", held)
    cascade = cascade_of(body, readers, steps)
    compiled = check_compiled(cascade, random_inputs(cascade), target=TINY)
    assert count_windows(compiled) == windows
    assert dict(compiled.main.memories)["P"].shape[0].constant == 8
    # Full windows share their kernels; the first one begins differently, and one of fewer steps is another.
    scans = {name for name, group in zip(compiled.main.steps, compiled.main.groups) if group.kind == "scan"}
    assert len(scans) == (2 if steps == 48 else 3)


OUTSIDE = "Z: f32[t:{T}, i:4, j:8] = S[t + 1, i, j] * P[t, i, j]"


@pytest.mark.parametrize(
    ("body", "readers", "outputs"),
    [
        pytest.param(STEP.replace("P[t, i, j]", "P[t, i, j] * f32(i64[t])"), LAST, "Z", id="a step depends on its number"),
        pytest.param(STEP.replace("P[t, i, j]", "(P[t + 1, i, j] else 0.0)"), LAST, "Z", id="beyond the last step"),
        pytest.param(STEP.replace("P[t, i, j]", "P[t, i, j] * P[0, i, j]"), LAST, "Z", id="the first step is read at every one"),
        pytest.param(STEP.replace("P[t, i, j]", "P[t, i, j] * X[i, i, j]"), LAST, "Z", id="fine: what the product reads is read otherwise"),
        pytest.param(STEP, OUTSIDE, "Z", id="somebody else reads the product"),
        pytest.param(STEP, LAST, "Z, P", id="the product is a result"),
    ],
)
def test_what_needs_all_steps_has_them(body, readers, outputs):
    cascade = cascade_of(body, readers, outputs=outputs)
    compiled = check_compiled(cascade, random_inputs(cascade), target=TINY)
    assert count_windows(compiled) == (6 if "X[" in body else 1)


def test_a_short_iteration_runs_at_once():
    cascade = cascade_of(STEP, steps=24)
    assert count_windows(check_compiled(cascade, random_inputs(cascade), target=TINY)) == 1


def test_the_product_of_a_nest_that_reverses_its_steps():
    cascade = cascade_of(STEP, ahead="P: f32[t:{T}, i:4, j:8] = exp(X[{T} - t - 1, i, j]) + X[t, i, j]".replace("{T} - t - 1", "47 - t"))
    check_compiled(cascade, random_inputs(cascade), target=TINY)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_windows_change_nothing(data):
    steps = data.draw(st.integers(2, 70))
    cache = data.draw(st.sampled_from([128, 256, 700, 1 << 10]))
    body = data.draw(st.sampled_from([STEP, RECURRENT, TURNED, STEP + " Q: f32[t:{T}, i:4] = sum(j:8) S[t + 1, i, j] * X[t, i, j]"]))
    readers = "Z: f32[t:{T}, i:4] = Q[t, i]" if "Q:" in body else data.draw(st.sampled_from([LAST, "Z: f32[t:{T}, i:4] = S[t, i, 2]"]))
    ahead = data.draw(st.sampled_from([PRODUCT, "P: f32[t:{T}, i:4, j:8] = max(r:16) X[t, i, r] * W[j, r]"]))
    cascade = cascade_of(body, readers, steps, ahead=ahead)
    target = Cpu("test", "x86_64", 128, 16, 2, 32 << 10, cache, 8 << 20, "cc")
    check_compiled(cascade, random_inputs(cascade, seed=data.draw(st.integers(0, 3))), target=target)
