"""Constants of positions: which stay expressions, and which are folded."""

from dataclasses import replace

import pytest
import torch

import tcomp
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.positions import expand_positions
from tcomp.passes.choose import Guess
from tests.compiled import Function, random
from tests.program_runner import check_compiled, random_inputs, small_target

CACHE = 4 * 24 * 30 - 1
INPUTS = "X: f32[24, 30], weight W: f32[24, 30], A: f32[16, 24]"
DECAY = "R: f32[i:24] = exp(f32(i64[i]))\nD: f32[i:24, j:30] = f32(i64[i - j]) * R[i]\n"


def parse(body):
    cascade = parse_cascade(f"cascade c({INPUTS}) -> (Z) {{\n{body}\n}}")
    check_cascade(cascade)
    return cascade


def expand(cascade, cache):
    """The cascade with what does not fit a cache of so many bytes computed where it is read, and the names of that."""
    return expand_positions(cascade, Guess(replace(small_target(), l2=cache)).is_expanded)


def expanded(body, cache=CACHE):
    after = drop_dead(expand(parse(body), cache)[0])
    check_cascade(after)
    return [line.strip() for line in str(after).splitlines()[1:-1]]


def test_large_constants_are_computed_where_they_are_read():
    body = DECAY + "B: bool[j:30, i:24] = D[i, j] < 0.0\nZ: f32[i:24, j:30] = select(B[j, i], X[i, j], D[i, j])"
    assert expanded(body, CACHE // 4) == [
        "R: f32[i:24] = exp(f32(i64[i]))",
        "Z: f32[i:24, j:30] = select(f32(i64[i - j]) * R[i] < 0.0, X[i, j], f32(i64[i - j]) * R[i])",
    ]
    check_compiled(parse(body), random_inputs(parse(body)), shuffle=1)


def test_a_reduction_may_read_them_too():
    assert len(expanded(DECAY + "Z: f32[i:24] = max(j:30) X[i, j] + D[i, j]")) == 2


@pytest.mark.parametrize(
    ("body", "cache"),
    [
        pytest.param(DECAY + "Z: f32[i:24, j:30] = X[i, j] * D[i, j]", CACHE + 1, id="what a cache holds"),
        pytest.param(DECAY + "Z: f32[j:30, m:16] = sum(i:24) D[i, j] * A[m, i]", CACHE, id="an operand of a contraction"),
        pytest.param("D: f32[i:24, j:30] = exp(W[i, j])\nZ: f32[i:24, j:30] = X[i, j] * D[i, j]", CACHE, id="made of weights"),
        pytest.param(
            "D: f32[i:24, j:30] = pow(0.5, f32(i64[i - j])) + sin(f32(i64[i]))\nZ: f32[i:24, j:30] = X[i, j] * D[i, j]",
            CACHE,
            id="costly",
        ),
        pytest.param(
            "S: f32[i:24, j:30] = sum(k:9) f32(i64[i * j - k])\nD: f32[i:24, j:30] = exp(S[i, j])\nZ: f32[i:24, j:30] = X[i, j] * D[i, j]",
            CACHE,
            id="no larger than what it is made of",
        ),
        pytest.param("Z: f32[i:24, j:30] = f32(i64[i - j]) * exp(f32(i64[i]))", CACHE, id="an output"),
        pytest.param(DECAY + "Z: f32[i64[i] + 1:25, j:30] = last(i:24) D[i, j] from 0.0".replace("i64[i]", "i"), CACHE, id="scattered"),
    ],
)
def test_what_is_folded(body, cache):
    cascade = parse(body)
    after, names = expand(cascade, cache)
    assert after is cascade and names == ()


def test_a_bias_by_distance_is_neither_folded_nor_stored():
    def attend(query, key, value):
        place = torch.arange(query.shape[1])
        slope = 2.0 ** (-torch.arange(1, 1 + query.shape[0], dtype=query.dtype))
        scores = query @ key.mT - slope[:, None, None] * (place[:, None] - place).abs()
        return scores.softmax(-1) @ value

    inputs = tuple(random(2, 1024, 16, seed=seed) for seed in range(3))
    compiled = tcomp.compile(Function(attend), inputs, fallback="error")
    torch.testing.assert_close(compiled(*inputs), attend(*inputs))
    assert compiled.memory.arena + compiled.memory.folded < inputs[0].numel() * 4 * 2
