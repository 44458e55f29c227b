"""Narrow floats and conversions are those of torch, bit by bit."""

import numpy
import pytest
import torch

from tcomp.ir.dtypes import DTYPES, boolean, f16, f32, f64, i8, i32, i64, u8
from tcomp.ir.evaluate.arrays import convert, round_float, storage

NARROW = {"f16": torch.float16, "bf16": torch.bfloat16, "e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def make_floats():
    """Floats of every exponent, both signs, with mantissas on and about the ties of the narrow types."""
    generator = numpy.random.default_rng(0)
    bits = generator.integers(0, 2**32, 200_000, dtype=numpy.uint32)
    ties = (bits & 0xFFFF0000) | numpy.uint32(0x8000)
    coarse = (bits & 0xFFF80000) | numpy.uint32(0x80000)
    special = numpy.array([0.0, -0.0, numpy.inf, -numpy.inf, numpy.nan, 448, 464, 465, 480, 57344, 61440, 65504, 65520], numpy.float32)
    return numpy.concatenate([bits.view(numpy.float32), ties.view(numpy.float32), coarse.view(numpy.float32), special, -special])


@pytest.mark.parametrize("name", NARROW)
def test_rounding_to_a_narrow_float_is_torch_s(name):
    floats = make_floats()
    if name == "e4m3":  # PyTorch saturates since 2.13 and gave NaN before; tested below
        floats = floats[~(abs(floats) > 464)]
    rounded = round_float(floats, DTYPES[name])
    expected = torch.from_numpy(floats).to(NARROW[name]).float().numpy()
    assert rounded.dtype == storage(DTYPES[name])
    numpy.testing.assert_array_equal(rounded.astype(numpy.float32), expected)
    numpy.testing.assert_array_equal(numpy.signbit(rounded)[~numpy.isnan(floats)], numpy.signbit(expected)[~numpy.isnan(floats)])


def test_what_is_too_large_saturates_in_e4m3_and_is_infinite_in_e5m2():
    large = numpy.float32([465, -1e9, numpy.inf, -numpy.inf, numpy.nan])
    numpy.testing.assert_array_equal(round_float(large, DTYPES["e4m3"]), [448, -448, 448, -448, numpy.nan])
    large = numpy.float32([61440, -1e9, numpy.inf, 61439, numpy.nan])
    numpy.testing.assert_array_equal(round_float(large, DTYPES["e5m2"]), [numpy.inf, -numpy.inf, numpy.inf, 57344, numpy.nan])


@pytest.mark.parametrize("name", NARROW)
def test_rounding_keeps_shapes_and_what_is_rounded_already(name):
    values = round_float(numpy.float32([[1.7, -3.1], [0.0, 1e-3]]), DTYPES[name])
    assert values.shape == (2, 2)
    numpy.testing.assert_array_equal(round_float(values.astype(numpy.float32), DTYPES[name]), values)
    assert isinstance(round_float(numpy.asarray(1.7, numpy.float32), DTYPES[name]), numpy.ndarray)


@pytest.mark.parametrize(
    ("values", "source", "target", "expected"),
    [
        ([2.9, -2.9, -0.5], f32, i32, [2, -2, 0]),
        ([2.9, 200.0], f64, u8, [2, 200]),
        ([300, -1, 128], i64, i8, [44, -1, -128]),
        ([300, -1], i64, u8, [44, 255]),
        ([0.0, -0.0, 0.1, numpy.nan], f32, boolean, [False, False, True, True]),
        ([0, 7], i64, boolean, [False, True]),
        ([True, False], boolean, f32, [1.0, 0.0]),
        ([2**24 + 1], i64, f32, [2.0**24]),
        ([2**24 + 1], i64, f64, [2.0**24 + 1]),
        ([70000], i64, f16, [numpy.inf]),
    ],
)
def test_conversions(values, source, target, expected):
    result = convert(numpy.array(values, storage(source)), source, target)
    assert result.dtype == storage(target)
    numpy.testing.assert_array_equal(result, expected)


def test_the_float64_oracle_rounds_nothing_but_truncates_to_integers():
    third = numpy.array([1 / 3])
    for name in NARROW:
        assert convert(third, f32, DTYPES[name], float64=True)[0] == 1 / 3
    assert convert(numpy.array([2.9]), f32, i32, float64=True)[0] == 2
    assert storage(f16, float64=True) == numpy.float64
    assert storage(i8, float64=True) == numpy.int8
