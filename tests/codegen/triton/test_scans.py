"""Scans of tile programs as Triton: in the interpreter against the evaluator, and compiled ahead."""

import numpy
import pytest

from tcomp.ir.dtypes import DTYPES
from tcomp.ir.evaluate.arrays import storage
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import compile_ahead, run_interpreted

KERNEL = """kernel k(in X: {dtype}[3, 50], out Y: {dtype}[3, 50], out Z: {dtype}[3]) warps 4 stages 2 {{
  block before: {dtype}[r.0:3]
  before[r.0] over (r.0:3) = {identity}:{dtype}
  for t in 0 .. 50 step 16 {{
    block part: {dtype}[r.0:3, t.0:16]
    scan part over (r.0:3, t.0:16 < 50 - t) = {monoid}(t.0) X[r.0, t + t.0]
    Y[r.0, t + t.0] over (r.0:3, t.0:16 < 50 - t) = part[r.0, t.0]
    before[r.0] over (r.0:3) {monoid}= {monoid}(t.0:16 < 50 - t) X[r.0, t + t.0]
  }}
  Z[r.0] over (r.0:3) = before[r.0]
}}"""

CASES = [
    ("sum", "f32", "0.0"), ("sum", "f64", "0.0"), ("sum", "i64", "0"), ("sum", "i32", "0"), ("prod", "f32", "1.0"),
    ("max", "f32", "-inf"), ("min", "f32", "inf"), ("max", "i32", "-2147483648"), ("any", "bool", "false"), ("all", "bool", "true"),
    ("xor", "i32", "0"), ("xor", "bool", "false"),
]  # fmt: skip


def make_kernel(monoid, dtype, identity):
    literal = identity if dtype in ("bool",) else f"{identity}:{dtype}"
    return parse_kernel(KERNEL.replace("{identity}:{dtype}", literal).format(monoid=monoid, dtype=dtype))


@pytest.mark.parametrize(("monoid", "dtype", "identity"), CASES)
def test_scans_are_what_the_evaluator_says(monoid, dtype, identity, tmp_path):
    kernel = make_kernel(monoid, dtype, identity)
    kind = storage(DTYPES[dtype])
    x = numpy.random.default_rng(0).integers(-3, 4, (3, 50))
    x = (x % 7 == 0) if dtype == "bool" else x
    arrays = {"X": x.astype(kind), "Y": numpy.zeros((3, 50), kind), "Z": numpy.zeros(3, kind)}
    if dtype == "f32" and monoid == "max":
        arrays["X"][1, 20] = numpy.nan
    expected = {name: array.copy() for name, array in arrays.items()}
    evaluate_kernel(kernel, expected)
    run_interpreted(kernel, arrays, tmp_path)
    for name in ("Y", "Z"):
        numpy.testing.assert_allclose(arrays[name], expected[name], rtol=1e-6)


@pytest.mark.parametrize(("monoid", "dtype", "identity"), [CASES[0], CASES[1], CASES[6], CASES[8]])
def test_scans_compile(monoid, dtype, identity, tmp_path):
    assert "shfl" in compile_ahead(make_kernel(monoid, dtype, identity), tmp_path).asm["ptx"]
