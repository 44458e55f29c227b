"""The operator table: each row computes what torch computes, corner cases included."""

import numpy
import pytest
import torch

from tcomp.ir.operators import OPERATORS, TYPE_KINDS

FLOATS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 3.7, -7.25, 1e-8, 40.0, numpy.inf, -numpy.inf, numpy.nan]
INTEGERS = [-7, -3, -2, -1, 1, 2, 3, 7]
TORCH = {
    "neg": torch.neg, "abs": torch.abs, "isnan": torch.isnan, "isinf": torch.isinf, "exp": torch.exp, "exp2": torch.exp2,
    "expm1": torch.expm1, "log": torch.log, "log2": torch.log2, "log10": torch.log10, "log1p": torch.log1p,
    "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "reciprocal": torch.reciprocal, "sin": torch.sin, "cos": torch.cos,
    "tan": torch.tan, "asin": torch.asin, "acos": torch.acos, "atan": torch.atan, "sinh": torch.sinh, "cosh": torch.cosh,
    "tanh": torch.tanh, "asinh": torch.asinh, "acosh": torch.acosh, "atanh": torch.atanh, "sigmoid": torch.sigmoid,
    "erf": torch.erf, "erfc": torch.erfc, "erfinv": torch.erfinv, "lgamma": torch.lgamma, "digamma": torch.digamma,
    "floor": torch.floor, "ceil": torch.ceil, "trunc": torch.trunc, "round": torch.round,
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "mod": torch.remainder, "fmod": torch.fmod,
    "minimum": torch.minimum, "maximum": torch.maximum, "eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le,
    "gt": torch.gt, "ge": torch.ge, "atan2": torch.atan2, "pow": torch.pow, "copysign": torch.copysign,
    "hypot": torch.hypot, "nextafter": torch.nextafter,
    "and": torch.bitwise_and, "or": torch.bitwise_or, "xor": torch.bitwise_xor, "not": torch.bitwise_not,
    "shl": torch.bitwise_left_shift, "shr": torch.bitwise_right_shift,
    "floordiv": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "truncdiv": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
}  # fmt: skip
MEANT_OTHERWISE = {"select", "sign"}
"""`select` is tested below. The sign of NaN is NaN here and 0 in torch."""


def apply(name, arguments):
    with numpy.errstate(all="ignore"):
        return numpy.asarray(OPERATORS[name].numpy(*arguments))


def test_every_operator_is_tested():
    assert set(TORCH) | MEANT_OTHERWISE == set(OPERATORS)


@pytest.mark.parametrize("name", [row.name for row in OPERATORS.values() if row.name in TORCH and "float" in TYPE_KINDS[row.types]])
def test_an_operator_on_floats_is_torch_s(name):
    grid = numpy.meshgrid(FLOATS, FLOATS, indexing="ij") if OPERATORS[name].arity == 2 else [numpy.array(FLOATS)]
    expected = TORCH[name](*map(torch.tensor, grid)).numpy()
    numpy.testing.assert_allclose(apply(name, grid), expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("name", [row.name for row in OPERATORS.values() if row.name in TORCH and "int" in TYPE_KINDS[row.types]])
def test_an_operator_on_integers_is_torch_s(name):
    grid = list(numpy.meshgrid(INTEGERS, INTEGERS, indexing="ij")) if OPERATORS[name].arity == 2 else [numpy.array(INTEGERS)]
    if name in ("shl", "shr"):
        grid[1] = abs(grid[1])
    expected = TORCH[name](*map(torch.tensor, grid)).numpy()
    numpy.testing.assert_array_equal(apply(name, grid), expected)


@pytest.mark.parametrize("name", ["and", "or", "xor", "not", "eq", "ne", "minimum", "maximum"])
def test_an_operator_on_bools_is_torch_s(name):
    grid = numpy.meshgrid([False, True], [False, True]) if OPERATORS[name].arity == 2 else [numpy.array([False, True])]
    numpy.testing.assert_array_equal(apply(name, grid), TORCH[name](*map(torch.tensor, grid)).numpy())


def test_select_and_sign():
    assert apply("select", (numpy.array([True, False]), numpy.array([1, 2]), numpy.array([3, 4]))).tolist() == [1, 4]
    assert apply("sign", (numpy.array([-3.0, 0.0, 2.0]),)).tolist() == [-1.0, 0.0, 1.0]
    assert numpy.isnan(apply("sign", (numpy.array([numpy.nan]),)))


@pytest.mark.parametrize("row", [row for row in OPERATORS.values() if row.commutative], ids=lambda row: row.name)
def test_commutative_rows_commute(row):
    values = [True, False] if row.types == "bits" else FLOATS
    a, b = numpy.meshgrid(values, values)
    numpy.testing.assert_array_equal(apply(row.name, (a, b)), apply(row.name, (b, a)))


def test_infix_spellings_are_distinct_for_each_arity():
    for arity in (1, 2):
        spellings = [row.infix for row in OPERATORS.values() if row.infix and row.arity == arity]
        assert len(spellings) == len(set(spellings))
