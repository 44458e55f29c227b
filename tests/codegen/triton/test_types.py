"""Element types of Triton: literals, and how conversions are spelled."""

import numpy
import pytest

from tcomp.codegen.triton.printer import print_triton_expression
from tcomp.codegen.triton.tree import Name
from tcomp.codegen.triton.types import SPELLINGS, Value, convert, literal, operand, retype, settle
from tcomp.ir.dtypes import DTYPES, bf16, boolean, e4m3, e5m2, f16, f32, f64, i8, i32, i64
from tcomp.ir.evaluate.expressions import make_array


def spelled(value):
    return print_triton_expression(value.code)


def tensor(dtype):
    return Value(Name("x"), dtype, frozenset({"n"}))


def test_every_dtype_has_its_names():
    assert set(SPELLINGS) == set(DTYPES)


@pytest.mark.parametrize("dtype", [f16, bf16, e4m3, e5m2], ids=str)
def test_literals_are_rounded_as_the_evaluator_rounds(dtype):
    random = numpy.random.default_rng(0)
    numbers = [
        *random.standard_normal(50) * 10.0 ** random.integers(-9, 9, 50),
        0.0,
        -0.0,
        1e300,
        -1e300,
        numpy.inf,
        447.0,
        464.0,
        61440.0,
        65520.0,
    ]
    for number in numbers:
        assert float(literal(number, dtype).code.value) == float(make_array(number, dtype))


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        (f32, bf16, "x.to(tl.bfloat16)"),
        (f64, f16, "x.to(tl.float32).to(tl.float16)"),
        (i64, bf16, "x.to(tl.float32).to(tl.bfloat16)"),
        (bf16, f16, "x.to(tl.float32).to(tl.float16)"),
        (f32, e4m3, "to_e4m3(x)"),
        (f16, e5m2, "to_e5m2(x.to(tl.float32))"),
        (e4m3, f32, "x.to(tl.float32)"),
        (e4m3, f64, "x.to(tl.float32).to(tl.float64)"),
        (e5m2, i64, "x.to(tl.float32).to(tl.int64)"),
        (e5m2, boolean, "x.to(tl.float32) != 0"),
        (f32, i8, "x.to(tl.int32).to(tl.int8)"),
        (f32, i64, "x.to(tl.int64)"),
        (f32, boolean, "x != 0"),
        (i32, boolean, "x != 0"),
        (boolean, i8, "x.to(tl.int8)"),
        (i64, i32, "x.to(tl.int32)"),
        (f32, f32, "x"),
    ],
)
def test_conversions(source, target, text):
    assert spelled(convert(tensor(source), target)) == text


def test_scalars_are_converted_by_a_function():
    assert spelled(convert(Value(Name("k"), i32), i64)) == "tl.cast(k, tl.int64)"


def test_literals_are_bare_where_triton_takes_them_for_their_dtype():
    assert [spelled(operand(literal(1, t))) for t in (f32, i32, f64, i64, bf16)] == [
        "1.0", "1", "tl.full((), 1.0, tl.float64)", "tl.full((), 1, tl.int64)", "tl.full((), 1.0, tl.bfloat16)",
    ]  # fmt: skip
    assert spelled(operand(literal(1e-40, f32))) == "tl.full((), 1e-40, tl.float32)"
    assert spelled(operand(literal(True, boolean))) == "True"
    assert spelled(settle(literal(2, i64))) == "tl.full((), 2, tl.int64)"
    assert spelled(operand(tensor(f64))) == "x"


def test_a_literal_stays_one_within_its_kind():
    assert retype(literal(0.1, f32), bf16) == literal(0.1, bf16)
    assert spelled(retype(tensor(f32), bf16)) == "x.to(tl.bfloat16)"
