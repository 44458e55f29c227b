"""PyTorch's attention compiled: values where rows are masked, NaN or infinite, memory, gradients."""

import math

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import tcomp
from tcomp.reference import is_right, measure_error
from tests.compiled import Function, random

BACKENDS = [{}, {"backend": "triton", "interpret": True}]
HEADS, QUERIES, KEYS, WIDTH = 2, 24, 40, 16


def draw(dtype=torch.float32, queries=QUERIES, keys=KEYS):
    lengths = (queries, keys, keys)
    return tuple(random(1, HEADS, length, WIDTH, seed=seed).to(dtype) for seed, length in enumerate(lengths))


def attend(query, key, value, mask=None):
    return scaled_dot_product_attention(query, key, value, attn_mask=mask)


def attend_causally(query, key, value):
    return scaled_dot_product_attention(query, key, value, is_causal=True)


def attend_by_hand(query, key, value, mask):
    scores = (query @ key.mT / 4.0).masked_fill(~mask, -math.inf)
    hidden = (scores == -math.inf).all(-1, keepdim=True)
    return scores.softmax(-1).masked_fill(hidden, 0.0) @ value


def draw_mask():
    """Some keys hidden; from one row all of them, from others the first or the last ones."""
    mask = random(QUERIES, KEYS, seed=5) > 0
    mask[3] = False
    mask[4, :30], mask[5, 2:] = False, False
    return mask


def check(function, *inputs, **options):
    wide = [x.double() if x.is_floating_point() else x for x in inputs]
    want, eager = function(*wide), function(*inputs)
    got = tcomp.compile(Function(function), inputs, fallback="error", **options)(*inputs)
    assert got.dtype == eager.dtype
    error, allowed = (measure_error((x.double(),), (want,)) for x in (got, eager))
    assert is_right(error, allowed, (eager,)), (error, allowed)
    return got


@pytest.mark.parametrize("options", BACKENDS, ids=["c", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("function", [attend, attend_causally])
def test_attention(function, dtype, options):
    check(function, *draw(dtype), **options)


@pytest.mark.parametrize("options", BACKENDS, ids=["c", "triton"])
@pytest.mark.parametrize("function", [attend, attend_by_hand])
def test_rows_that_see_nothing_are_zero(function, options):
    got = check(function, *draw(), draw_mask(), **options)
    assert not got[:, :, 3].any()
    floats = torch.zeros(QUERIES, KEYS).masked_fill(~draw_mask(), -math.inf)
    if function is attend:
        assert not check(function, *draw(), floats, **options)[:, :, 3].any()


@pytest.mark.parametrize("options", BACKENDS, ids=["c", "triton"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["query", "key", "value"])
def test_what_is_not_finite_shows_where_it_does_in_eager(place, value, options):
    inputs = draw()
    inputs[place][0, 1, 7, 2] = value
    check(attend, *inputs, draw_mask(), **options)


def test_sizes_may_change():
    compiled = tcomp.compile(Function(attend), (*draw(), draw_mask()), dynamic=True, fallback="error")
    for queries, keys in ((24, 40), (17, 33), (8, 64)):
        mask = random(queries, keys, seed=5) > 0
        mask[3] = False
        inputs = (*draw(queries=queries, keys=keys), mask)
        torch.testing.assert_close(compiled(*inputs), attend(*inputs))


@pytest.mark.parametrize("function", [attend, attend_causally])
def test_nothing_of_the_size_of_the_scores_is_stored(function):
    """The keys are copied, scaled and in panels; queries and scores are not."""
    inputs = draw(queries=1024, keys=1024)
    compiled = tcomp.compile(Function(function), inputs, fallback="error")
    torch.testing.assert_close(compiled(*inputs), function(*inputs))
    assert compiled.memory.arena + compiled.memory.folded <= 2 * inputs[1].numel() * 4


@pytest.mark.parametrize("function", [attend, attend_causally, attend_by_hand])
def test_gradients(function):
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="tcomp", options={"fallback": "error"})
    rest = (draw_mask(),) if function is attend_by_hand else ()
    gradients = []
    for run, dtype in ((compiled, torch.float32), (function, torch.float32), (function, torch.float64)):
        inputs = [x.to(dtype).requires_grad_() for x in draw()]
        run(*inputs, *rest).square().sum().backward()
        gradients.append(tuple(x.grad.double() for x in inputs))
    errors = [measure_error(found, gradients[2]) for found in gradients[:2]]
    assert is_right(*errors, tuple(x.float() for x in gradients[1])), errors
