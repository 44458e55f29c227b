"""Arithmetic and elementary functions against eager, over dtypes and shapes."""

import math

import pytest
import torch

from tcomp.ir.expressions import Apply
from tcomp.ir.walk import walk
from tests.lowering_support import check

aten = torch.ops.aten
FLOATS = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
INTEGERS = (torch.int64, torch.int32, torch.uint8)
SHAPES = ((), (1,), (0,), (3, 4))
NAN, INF = math.nan, math.inf
SPECIALS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, NAN, INF, -INF)


def example(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator, dtype=torch.int64).bool()
    if not dtype.is_floating_point:
        low = 0 if dtype == torch.uint8 else -9
        return torch.randint(low, 10, shape, generator=generator, dtype=torch.int64).to(dtype)
    return (torch.randn(shape, generator=generator) * 2).to(dtype)


def special_pairs(dtype=torch.float32):
    values = torch.tensor(SPECIALS, dtype=dtype)
    return values[:, None].expand(-1, len(SPECIALS)).contiguous(), values[None, :].expand(len(SPECIALS), -1).contiguous()


UNARY = [
    *(torch.abs, torch.neg, torch.sign, torch.ceil, torch.floor, torch.round, torch.trunc, torch.frac),
    *(torch.cos, torch.sin, torch.tan, torch.atan, torch.sinh, torch.cosh, torch.tanh, torch.asinh),
    *(torch.exp, torch.exp2, torch.expm1, torch.sigmoid, torch.erf, torch.erfc, torch.reciprocal, torch.square),
]
DOMAINS = [  # functions whose domain is not the whole line: torch gives NaN or infinity outside it
    *(torch.acos, torch.asin, torch.acosh, torch.atanh, torch.log, torch.log2, torch.log10, torch.log1p),
    *(torch.sqrt, torch.rsqrt, torch.erfinv, torch.logit, torch.lgamma, torch.digamma),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("function", UNARY + DOMAINS, ids=lambda f: f.__name__)
def test_functions_of_one_argument(function, dtype):
    if function in (torch.erfinv, torch.lgamma, torch.digamma) and dtype == torch.float16:
        pytest.skip("eager computes these in half precision")
    for shape in SHAPES:
        check(function, example(shape, dtype), ulps=16, terms=1 if function is torch.lgamma else 0)


@pytest.mark.parametrize("function", UNARY + DOMAINS, ids=lambda f: f.__name__)
def test_functions_of_special_values(function):
    check(function, torch.tensor(SPECIALS), ulps=16)


@pytest.mark.parametrize("dtype", (*INTEGERS, torch.bool), ids=str)
@pytest.mark.parametrize(
    "function", [torch.sin, torch.exp, torch.sqrt, torch.sigmoid, torch.reciprocal, torch.erf], ids=lambda f: f.__name__
)
def test_float_functions_convert_integers(function, dtype):
    check(function, example((3, 4), dtype), ulps=16)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize(
    "function",
    [torch.neg, torch.abs, torch.sign, torch.ceil, torch.floor, torch.round, torch.trunc, torch.square],
    ids=lambda f: f.__name__,
)
def test_integer_functions_stay_integers(function, dtype):
    check(function, example((3, 4), dtype))


BINARY = [torch.add, torch.sub, torch.mul, torch.div, torch.rsub]


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", (*FLOATS, *INTEGERS), ids=str)
def test_arithmetic(function, dtype):
    for shape in SHAPES:
        check(function, example(shape, dtype), example(shape, dtype, seed=1).abs() + 1)
    check(lambda x: function(x, 3), example((3, 4), dtype))
    check(lambda x: function(x, 0.3), example((3, 4), dtype))


@pytest.mark.parametrize("a", (*FLOATS, *INTEGERS, torch.bool), ids=str)
@pytest.mark.parametrize("b", (torch.float32, torch.bfloat16, torch.int32, torch.uint8, torch.bool), ids=str)
def test_mixed_types_and_broadcasting(a, b):
    check(torch.add, example((3, 1), a), example((4,), b, seed=1))
    check(torch.mul, example((3, 4), a), example((), b, seed=1))
    divisor = example((1, 4), b, seed=1)
    check(torch.div, example((3, 4), a), torch.where(divisor == 0, 1, divisor).to(b))


def test_alpha_scales_the_second_argument():
    for dtype in (torch.float32, torch.int64, torch.bfloat16):
        check(lambda x, y: torch.add(x, y, alpha=3), example((4,), dtype), example((4,), dtype, 1))
        check(lambda x, y: torch.sub(x, y, alpha=2), example((4,), dtype), example((4,), dtype, 1))
        check(lambda x: torch.rsub(x, 5, alpha=2), example((4,), dtype))


def test_bools_add_and_multiply_as_logic():
    x, y = example((8,), torch.bool), example((8,), torch.bool, 1)
    check(torch.add, x, y)
    check(torch.mul, x, y)


ROUNDED_DIVISION = {
    "floor": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "trunc": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    "floor_divide": torch.floor_divide,
    "remainder": torch.remainder,
    "fmod": torch.fmod,
}


@pytest.mark.parametrize("function", ROUNDED_DIVISION.values(), ids=ROUNDED_DIVISION.keys())
def test_rounded_division(function):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        check(function, example((40,), dtype), example((40,), dtype, 1))
    for dtype in INTEGERS:
        divisor = example((40,), dtype, 1)
        check(function, example((40,), dtype), torch.where(divisor == 0, 1, divisor).to(dtype))
        check(lambda x: function(x, 3), example((40,), dtype))
    check(function, *special_pairs())
    check(lambda x: function(x, 0.7), example((40,), torch.int64))


def test_binary_functions_of_special_values():
    for function in (torch.add, torch.mul, torch.div, torch.atan2, torch.copysign, torch.hypot, torch.pow):
        check(function, *special_pairs())
    check(lambda x, y: aten.logaddexp(x, y), *special_pairs(), decompose=False)
    check(lambda x, y: aten.logaddexp2(x, y), *special_pairs(), decompose=False, terms=1)
    check(torch.nextafter, *special_pairs(torch.float64))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 7, 8, 11, -1, -2, 0.5, -0.5, 1.7, 2.0])
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float64), ids=str)
def test_powers_of_floats(exponent, dtype):
    check(lambda x: x**exponent, example((20,), dtype), ulps=8)
    check(lambda x: x**exponent, torch.tensor(SPECIALS, dtype=dtype), ulps=8)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 10, 0.5, 2.0])
def test_powers_of_integers(exponent):
    for dtype in INTEGERS:
        check(lambda x: x**exponent, example((20,), dtype), ulps=8)


def test_powers_of_tensors():
    check(torch.pow, example((20,), torch.int64), example((20,), torch.int64, 1))
    check(torch.pow, example((20,), torch.uint8), example((20,), torch.uint8, 1) % 3)
    check(lambda x: 2**x, example((20,), torch.int64))
    check(lambda x: 2.5**x, example((20,), torch.float32))
    check(torch.pow, example((20,), torch.float32), example((20,), torch.int64, 1), ulps=8)


def test_small_integer_powers_are_multiplications():
    cascade = check(lambda x: x**3, torch.randn(4))
    (einsum,) = cascade.statements
    assert {e.operator for e in walk(einsum.expression) if isinstance(e, Apply)} == {"mul"}


def test_fused_products():
    x, y, z = (example((3, 4), torch.float32, seed) for seed in range(3))
    check(lambda x, y, z: aten.addcmul(x, y, z, value=0.5), x, y, z, decompose=False, terms=2)
    check(lambda x, y, z: aten.addcdiv(x, y, z, value=2), x, y, z, decompose=False, terms=2)
    integers = [example((4,), torch.int64, seed) for seed in range(3)]
    check(lambda x, y, z: aten.addcmul(x, y, z, value=2), *integers, decompose=False)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 0.9, 1.0, -2.0])
def test_interpolation_with_a_number(weight):
    x, y = (example((3, 4), torch.float32, seed) for seed in range(2))
    check(lambda x, y: aten.lerp.Scalar(x, y, weight), x, y, decompose=False, terms=2)


def test_interpolation():
    x, y, w = (example((3, 4), torch.float32, seed) for seed in range(3))
    check(lambda x, y, w: aten.lerp.Tensor(x, y, w), x, y, w, decompose=False, terms=2)


@pytest.mark.parametrize("decimals", [0, 2, -1])
def test_rounding_to_decimals(decimals):
    check(lambda x: torch.round(x, decimals=decimals), example((20,), torch.float32) * 100)


@pytest.mark.parametrize("arguments", [(), (1.0,), (0.5, 7.0, -7.0)])
def test_replacing_what_is_not_a_number(arguments):
    for dtype in (torch.float32, torch.bfloat16):
        check(lambda x: aten.nan_to_num(x, *arguments), torch.tensor(SPECIALS, dtype=dtype), decompose=False)
    check(lambda x: aten.nan_to_num(x, *arguments), torch.arange(4), decompose=False)


def test_logit_clamps():
    check(lambda x: aten.logit(x, 1e-3), torch.tensor([0.0, 0.2, 0.7, 1.0, 2.0, NAN]), decompose=False, ulps=16)


def test_narrow_floats_are_computed_wide_and_rounded_once():
    cascade = check(lambda x, y: aten.addcmul(x, y, y), *(example((4,), torch.bfloat16, s) for s in (0, 1)), decompose=False)
    assert str(cascade).splitlines()[1] == "  addcmul: bf16[i:4] = bf16(f32(x_1[i]) + f32(y_1[i]) * f32(y_1[i]))"
