"""Comparisons, logic, bits and choices against eager."""

import math

import pytest
import torch

from tests.lowering_support import check
from tests.tcomp.lowerings.test_pointwise import FLOATS, INTEGERS, SPECIALS, example, special_pairs

aten = torch.ops.aten
COMPARISONS = [torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge]
NAN = math.nan


@pytest.mark.parametrize("function", COMPARISONS, ids=lambda f: f.__name__)
def test_comparisons(function):
    for dtype in (*FLOATS, *INTEGERS, torch.bool):
        check(function, example((30,), dtype), example((30,), dtype, 1))
    check(function, *special_pairs())
    check(function, example((30,), torch.int64), example((30,), torch.float32, 1))
    check(lambda x: function(x, 2), example((30,), torch.int64))
    check(lambda x: function(x, 0.5), example((30,), torch.int64))


def test_numbers_are_rounded_to_the_tensor_before_comparing():
    x = torch.tensor([0.1, 0.3], dtype=torch.bfloat16)
    check(lambda x: x == 0.1, x)
    check(lambda x: x > 0.3, x)


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
def test_bits(name):
    function = getattr(torch, name)
    for dtype in (*INTEGERS, torch.bool):
        check(function, example((30,), dtype), example((30,), dtype, 1))
        check(torch.bitwise_not, example((30,), dtype))
    check(lambda x: function(x, 6), example((30,), torch.int64))
    check(lambda x: function(6, x), example((30,), torch.int64))


@pytest.mark.parametrize("function", [torch.bitwise_left_shift, torch.bitwise_right_shift], ids=lambda f: f.__name__)
def test_shifts(function):
    for dtype in INTEGERS:
        distance = torch.tensor([0, 1, 3, 7, 8, 31, 32, 63, 64, 100]).to(dtype)
        check(function, example((10,), dtype) * 5, distance)
        check(lambda x: function(x, 2), example((10,), dtype))
    check(function, example((4,), torch.int64), torch.tensor([-1, 0, -5, 2]))


def test_shifts_spelled_as_operators():
    """PyTorch has operators of their own for these."""
    for dtype in INTEGERS:
        x = example((10,), dtype) * 5
        check(lambda x: (x << 2, x >> 1), x)
        check(lambda x, y: (x << y, x >> y), x, torch.tensor([0, 1, 3, 7, 8, 31, 32, 63, 64, 100]).to(dtype))


@pytest.mark.parametrize("function", [torch.logical_and, torch.logical_or, torch.logical_xor], ids=lambda f: f.__name__)
def test_logic(function):
    check(function, *special_pairs())
    check(function, example((30,), torch.int64), example((30,), torch.bool))
    check(function, example((3, 1), torch.bfloat16), example((4,), torch.uint8))


def test_negation():
    for dtype in (torch.float32, torch.int64, torch.bool):
        check(torch.logical_not, example((30,), dtype))


@pytest.mark.parametrize("function", [torch.isnan, torch.isinf, torch.isfinite, torch.signbit], ids=lambda f: f.__name__)
def test_kinds_of_numbers(function):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        check(function, torch.tensor(SPECIALS, dtype=dtype))
        check(function, torch.tensor(SPECIALS, dtype=dtype), decompose=False)
    check(function, example((9,), torch.int64))
    check(function, example((9,), torch.uint8))


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_extrema_of_two(name):
    function = getattr(torch, name)
    check(function, *special_pairs())
    check(function, example((9,), torch.int64), example((9,), torch.int64, 1))
    check(function, example((9,), torch.bfloat16), example((9,), torch.bfloat16, 1))
    check(function, example((9,), torch.bool), example((9,), torch.bool, 1))


@pytest.mark.parametrize(
    "bounds", [(-0.5, 0.5), (None, 0.5), (0.5, None), (1.0, -1.0), (NAN, 1.0), (-1, 1)], ids=str
)
def test_clamping_to_numbers(bounds):
    check(lambda x: torch.clamp(x, *bounds), torch.tensor(SPECIALS))
    check(lambda x: torch.clamp(x, *bounds), example((9,), torch.bfloat16))
    if NAN not in bounds:
        check(lambda x: torch.clamp(x, *bounds), example((9,), torch.int64))


def test_clamping_to_tensors():
    x, low, high = (example((3, 4), torch.float32, s) for s in range(3))
    check(torch.clamp, x, low, high)
    check(lambda x, low: torch.clamp(x, min=low), x, low[0])
    check(lambda x, high: torch.clamp(x, max=high), x, high[:, :1])
    for dtype in (torch.float32, torch.int64):
        check(lambda x: aten.clamp_min.default(x, 1), example((9,), dtype), decompose=False)
        check(lambda x: aten.clamp_max.default(x, 1), example((9,), dtype), decompose=False)


def test_choosing():
    condition = example((3, 4), torch.bool)
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        check(torch.where, condition, example((4,), dtype, 1), example((3, 1), dtype, 2))
    check(torch.where, condition, example((3, 4), torch.int64), example((), torch.float32))
    check(lambda c, x: torch.where(c, x, 0.5), condition, example((3, 4), torch.float32))
    check(lambda c, x: torch.where(c, -math.inf, x), condition, example((3, 4), torch.bfloat16))


def test_filling_where_masked():
    mask = example((4,), torch.bool)
    for decompose in (True, False):
        check(lambda x, m: x.masked_fill(m, -math.inf), example((3, 4), torch.float32), mask, decompose=decompose)
        check(lambda x, m: x.masked_fill(m, 7), example((3, 4), torch.int64), mask, decompose=decompose)
        check(lambda x, m: x.masked_fill(m, torch.tensor(2.5)), example((3, 4), torch.bfloat16), mask, decompose=decompose)
