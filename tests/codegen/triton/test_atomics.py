"""Atomic merges in Triton's interpreter, refused where the hardware has none, and compiled."""

import numpy
import pytest
from triton_statements import check, make_array

from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.errors import Unsupported
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import compile_ahead, run_interpreted

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

ATOMIC = """kernel k(in I: i64[N], in X: {dtype}[N, 5], inout Y: {dtype}[6, 5], inout S: {dtype}[]) for N in 0..100 {{
  parallel n in 0 .. N step 4 {{
    Y[I[n + n.0], j.0] over (n.0:4 < N - n, j.0:5) atomic {monoid}= X[n + n.0, j.0] where I[n + n.0] != 5
    S[] over () atomic {monoid}= {monoid}(n.0:4 < N - n) X[n + n.0, 0]
  }}
}}"""

ATOMICS = [
    (monoid, dtype)
    for monoid, dtypes in {
        "sum": ("f64", "f32", "f16", "bf16", "i64", "i32", "i16"), "prod": ("f32", "i32", "f64"), "max": ("f32", "bf16", "i64", "i32"),
        "min": ("f32", "f64", "f16", "i32", "i16"), "xor": ("i64", "i32"),
    }.items()
    for dtype in dtypes
]  # fmt: skip


@pytest.mark.parametrize(("monoid", "dtype"), ATOMICS)
def test_atomic_merges(monoid, dtype, tmp_path):
    """Points meet within a statement and between instances; integers keep sums of narrow floats exact."""
    text = ATOMIC.format(monoid=monoid, dtype=dtype)
    arrays = {}
    if DTYPES[dtype].is_float and DTYPES[dtype].bits < 32 and monoid == "sum":
        arrays["X"] = numpy.random.default_rng(0).integers(-3, 4, (13, 5)).astype(numpy.float16 if dtype == "f16" else numpy.float32)
        arrays |= {"Y": numpy.zeros((6, 5), arrays["X"].dtype), "S": numpy.zeros((), arrays["X"].dtype)}
    check(text, tmp_path, {"N": 13}, arrays=arrays, rounding=32)


def test_atomic_extrema_pass_nan_on(tmp_path):
    kernel = parse_kernel(ATOMIC.format(monoid="max", dtype="f32"))
    arrays = {a.name: make_array(a, {"N": 8}, seed) for seed, a in enumerate(kernel.arguments)}
    arrays["X"][3], arrays["I"][3] = numpy.nan, 2
    expected = {name: array.copy() for name, array in arrays.items()}
    evaluate_kernel(kernel, expected, {"N": 8})
    run_interpreted(kernel, arrays, tmp_path, {"N": 8})
    assert numpy.isnan(arrays["Y"][2]).all()
    numpy.testing.assert_array_equal(arrays["Y"], expected["Y"])


@pytest.mark.parametrize(("monoid", "dtype"), [("any", "bool"), ("sum", "i8"), ("last", "f32"), ("xor", "i16")])
def test_atomic_merges_that_the_hardware_cannot_do_are_refused(monoid, dtype):
    with pytest.raises(Unsupported, match=f"an atomic {monoid} of {dtype}"):
        triton_unit(parse_kernel(ATOMIC.format(monoid=monoid, dtype=dtype)), TritonOptions())


@pytest.mark.parametrize(("monoid", "dtype", "architecture"), [("sum", "f32", 90), ("max", "f32", 80), ("sum", "bf16", 80)])
def test_atomic_merges_compile(monoid, dtype, architecture, tmp_path):
    text = compile_ahead(parse_kernel(ATOMIC.format(monoid=monoid, dtype=dtype)), tmp_path, architecture).asm["ptx"]
    assert "atom" in text or "red." in text
