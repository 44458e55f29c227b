"""Cascades written by hand: each is its own printed form, verifies, and computes what torch computes, in float64."""

from dataclasses import replace

import numpy
import pytest
import torch
from torch.nn import functional

from tcomp.ir.cascade import Cascade, Iteration, Source, print_cascade
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade


def make_random(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape)


def torch_double(array):
    return torch.tensor(array, dtype=torch.float64)


def attention(inputs):
    query, key, value = (torch_double(inputs[name]) for name in "QKV")
    return {"AV": functional.softmax(query @ key.T, -1) @ value}


def convolution(inputs):
    x, w = (torch_double(inputs[name]).requires_grad_() for name in "XW")
    y = functional.conv2d(x, w, stride=2, padding=1)
    dx, dw = torch.autograd.grad(y, (x, w), torch_double(inputs["G"]))
    return {"Y": y, "DX": dx, "DW": dw}


def gru(inputs):
    parameters = [torch_double(inputs[name]) for name in ("WI", "WH", "BI", "BH")]
    x, state = torch_double(inputs["X"])[:, None], torch_double(inputs["H0"])[None, None]
    y, _ = torch.gru(x, state, parameters, True, 1, 0.0, False, False, False)
    return {"Y": y[:, 0]}


def selective_scan(inputs):
    x, dt, a, b, c = (torch_double(inputs[name]) for name in ("X", "DT", "A", "B", "C"))
    state = torch.zeros_like(a)
    rows = []
    for t in range(len(x)):
        state = torch.exp(dt[t, :, None] * a) * state + (dt[t] * x[t])[:, None] * b[t]
        rows.append(state @ c[t])
    return {"Y": torch.stack(rows)}


def embedding(inputs):
    table = torch_double(inputs["E"]).requires_grad_()
    y = functional.embedding(torch.tensor(inputs["I"]), table)
    return {"Y": y, "DE": torch.autograd.grad(y, table, torch_double(inputs["G"]))[0]}


def top_k(inputs):
    order = numpy.argsort(-inputs["X"], kind="stable")[:4]
    return {"V": inputs["X"][order], "I": order}


def fft(inputs):
    pairs = numpy.fft.fft(inputs["X"][:, 0] + 1j * inputs["X"][:, 1])
    return {"Y": numpy.stack([pairs.real, pairs.imag], -1)}


def grouped_int8_matmul(inputs):
    a, b = (
        (inputs[name].astype(float).reshape(-1, 3, 32) * inputs["S" + name][:, :, None]).reshape(-1, 96) for name in "AB"
    )
    return {"Y": a @ b.T}


def statistics(inputs):
    x = torch_double(inputs["X"])
    return {"L": x.logsumexp(1), "MEAN": x.mean(1), "VAR": x.var(1, correction=0)}


QKV = {"Q": make_random(5, 6), "K": make_random(12, 6, seed=1), "V": make_random(12, 7, seed=2)}
BYTES = {name: numpy.random.default_rng(3).integers(-128, 128, (rows, 96), numpy.int8) for name, rows in (("A", 5), ("B", 4))}
CASES = {
    "attention_three_pass.txt": (QKV, {}, attention),
    "attention_two_pass.txt": (QKV, {}, attention),
    "attention_one_pass.txt": (QKV, {"N": 3}, attention),
    "convolution.txt": (
        {"X": make_random(2, 3, 8, 8), "W": make_random(4, 3, 3, 3), "G": make_random(2, 4, 4, 4)},
        {},
        convolution,
    ),
    "cumsum.txt": ({"X": make_random(6, 3)}, {}, lambda inputs: {"Y": inputs["X"].cumsum(0)}),
    "gru.txt": (
        {
            "X": make_random(6, 3),
            "H0": make_random(4),
            "WI": make_random(12, 3), "WH": make_random(12, 4), "BI": make_random(12), "BH": make_random(12, seed=1),
        },
        {},
        gru,
    ),
    "selective_scan.txt": (
        {
            "X": make_random(6, 3), "DT": abs(make_random(6, 3)), "A": -abs(make_random(3, 4)),
            "B": make_random(6, 4), "C": make_random(6, 4, seed=1),
        },
        {},
        selective_scan,
    ),
    "embedding.txt": (
        {"I": numpy.array([[0, 2, 2], [4, 0, 2]]), "E": make_random(5, 3), "G": make_random(2, 3, 3)},
        {},
        embedding,
    ),
    "top_k.txt": ({"X": numpy.array([1.0, 3.0, -2.0, 3.0, 0.5, 3.0, 2.0])}, {}, top_k),
    "fft.txt": ({"X": make_random(16, 2)}, {}, fft),
    "grouped_int8_matmul.txt": (BYTES | {"SA": make_random(5, 3), "SB": make_random(4, 3)}, {}, grouped_int8_matmul),
    "statistics.txt": ({"X": make_random(4, 9) + 300.0}, {}, statistics),
}


@pytest.mark.parametrize("name", CASES)
def test_a_golden_cascade_is_its_own_printed_form_and_verifies(name, golden):
    text = golden.read(name)
    cascade = parse_cascade(text)
    comments = "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))
    golden.check(name, comments + str(cascade))
    check_cascade(cascade)
    assert parse_cascade(str(cascade)) == cascade


@pytest.mark.parametrize("name", CASES)
def test_a_golden_cascade_computes_what_torch_does(name, golden):
    inputs, symbols, reference = CASES[name]
    computed = evaluate(parse_cascade(golden.read(name)), inputs, symbols, float64=True)
    expected = reference(inputs)
    assert list(computed) == list(expected)
    for output, value in expected.items():
        numpy.testing.assert_allclose(computed[output], torch.as_tensor(value).detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_golden_cascade_in_its_own_dtypes_is_near_its_float64_value(name, golden):
    inputs, symbols, _ = CASES[name]
    cascade = parse_cascade(golden.read(name))
    held = {
        tensor.name: inputs[tensor.name].astype(numpy.float32) if tensor.dtype.is_float else inputs[tensor.name]
        for tensor in cascade.inputs
    }
    exact = evaluate(cascade, held, symbols, float64=True)
    for output, value in evaluate(cascade, held, symbols).items():
        assert value.dtype == (numpy.float32 if value.dtype.kind == "f" else numpy.int64)
        # Every golden reduces at most 108 numbers and chains at most some ten roundings, with values of at most about 300.
        scale = 300 if name == "statistics.txt" else abs(exact[output]).max()
        numpy.testing.assert_allclose(value, exact[output], rtol=0, atol=120 * 2.0**-24 * scale)


def test_a_cascade_lists_its_einsums_and_tensors(golden):
    cascade = parse_cascade(golden.read("attention_one_pass.txt"))
    assert [e.name for e in cascade.einsums()][-2:] == ["RNV", "AV"]
    assert list(cascade.tensors())[:4] == ["Q", "K", "V", "QK"]
    assert str(cascade.tensors()["RM"].shape[0]) == "N + 1"
    assert isinstance(cascade.statements[0], Iteration)
    assert next(e for e in cascade.einsums() if e.name == "RD").reads() == ["PRM", "RD", "SLD"]


def test_the_same_statements_give_the_same_cascade(golden):
    cascade = parse_cascade(golden.read("cumsum.txt"))
    assert cascade.with_statements(tuple(cascade.statements)) is cascade
    shorter = cascade.with_statements(cascade.statements[:1])
    assert isinstance(shorter, Cascade) and shorter != cascade


def test_the_golden_check_sees_a_difference_and_a_missing_file(golden, tmp_path):
    local = type(golden)(False, tmp_path)
    with pytest.raises(AssertionError, match="--update-golden"):
        local.check("a.txt", "text")
    type(golden)(True, tmp_path).check("a.txt", "text")
    local.check("a.txt", "text")
    with pytest.raises(AssertionError):
        local.check("a.txt", "other")


def test_sources_are_comments_before_the_einsums_they_belong_to():
    text = """cascade f(X: f32[4]) -> (S, Z) {
  # layer model.py:3
  Y: f32[i:4] = X[i] * 2.0
  iterate t:4 {
    A: f32[t:4] = Y[t] + 1.0
    # layer.cell model.py:5
    S: f32[t + 1:5] = S[t] + A[t] from 0.0
  }
  Z: f32[i:4] = S[i + 1] + 1.0
}"""
    cascade = parse_cascade(text)
    (y, (a, s), z) = (s.body if isinstance(s, Iteration) else s for s in cascade.statements)
    first, second = Source("layer", "model.py:3"), Source("layer.cell", "model.py:5")
    loop = Iteration(cascade.statements[1].rank, (replace(a, source=first), replace(s, source=second)))
    traced = cascade.with_statements((replace(y, source=first), loop, replace(z, source=Source())))
    assert print_cascade(traced, sources=True) == text
    assert parse_cascade(text) == traced
    assert "#" not in str(traced)
