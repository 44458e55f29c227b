"""Loads and stores whose indices are data, and how wide indices are, in Triton's interpreter."""

import numpy
import pytest
from triton_statements import check, make_array

from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import run_interpreted

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

GATHER = """kernel k(in I: i64[N], in J: i32[N], in E: f32[M, 3], in F: f32[M, 3], out Z: f32[N, 3], out Y: f32[N])
for N in 0..1000, M in 1..100 {
  for n in 0 .. N step 4 {
    Z[n + n.0, j.0] over (n.0:4 < N - n, j.0:3) = E[I[n + n.0], j.0]
    Y[n + n.0] over (n.0:4 < N - n) = sum(j.0:3) F[J[n + n.0], j.0]
  }
}"""


def run(text, arrays, folder, symbols=None):
    kernel = parse_kernel(text)
    made = {a.name: make_array(a, symbols or {}, seed) for seed, a in enumerate(kernel.arguments)}
    made |= {name: array.copy() for name, array in arrays.items()}
    return made, run_interpreted(kernel, made, folder, symbols)


def test_loads_outside_read_element_0_and_are_reported(tmp_path):
    table = numpy.arange(15.0, dtype=numpy.float32).reshape(5, 3)
    fine = numpy.array([1, 4, 0, 2, 3, 3])
    for faulty, failed in ((-1, 0), (5, 0), (2**40, 0)):
        indices = fine.copy()
        indices[4] = faulty
        arrays = {"I": indices, "J": fine.astype(numpy.int32), "E": table}
        made, faults = run(GATHER, arrays, tmp_path, {"N": 6, "M": 5})
        assert faults == [failed]
        numpy.testing.assert_array_equal(made["Z"], table[numpy.where(indices == faulty, 0, indices)])
    arrays = {"I": fine, "J": numpy.array([0, 0, 0, 0, 0, 9], numpy.int32), "E": table}
    assert run(GATHER, arrays, tmp_path, {"N": 6, "M": 5})[1] == [1]
    arrays["J"][5] = 0
    assert run(GATHER, arrays, tmp_path, {"N": 6, "M": 5})[1] == []


def test_indices_beyond_a_limit_are_no_faults(tmp_path):
    """Six points of eight exist; what memory holds after them is out of every range."""
    text = """kernel k(in I: i64[6], in E: f32[5], out Z: f32[6]) {
      Z[n.0] over (n.0:6) = E[I[n.0]]
    }"""
    assert run(text, {"I": numpy.array([0, 1, 2, 3, 4, 0])}, tmp_path)[1] == []


def test_a_load_of_an_empty_tensor_is_reported_and_reads_nothing(tmp_path):
    text = "kernel k(in I: i64[4], in E: f32[M, 3], out Z: f32[4, 3]) for M in 0..9 { Z[n.0, j.0] over (n.0:4, j.0:3) = E[I[n.0], j.0] }"
    made, faults = run(text, {"I": numpy.zeros(4, numpy.int64)}, tmp_path, {"M": 0})
    assert faults == [0] and (made["Z"] == 0).all()


def test_stores_outside_are_dropped_and_reported(tmp_path):
    text = """kernel k(in I: i64[6], in X: f32[6], inout Y: f32[4], inout Z: f32[4]) {
      Y[I[n.0]] over (n.0:6) = X[n.0]
      Z[I[n.0]] over (n.0:6) sum= X[n.0]
    }"""
    x = numpy.arange(1.0, 7.0, dtype=numpy.float32)
    zeros = numpy.zeros(4, numpy.float32)
    indices = numpy.array([3, -1, 0, 4, 2, 9])
    made, faults = run(text, {"I": indices, "X": x, "Y": zeros, "Z": zeros}, tmp_path)
    assert faults == [0, 1]
    for name in "YZ":
        numpy.testing.assert_array_equal(made[name], [3, 0, 5, 1])


def test_a_store_that_is_not_wanted_is_no_fault(tmp_path):
    text = """kernel k(in I: i64[6], in X: f32[6], inout Y: f32[4]) {
      for t in 0 .. 2 { Y[I[n.0]] over (n.0:3) = X[n.0 + 3*t] where I[n.0] < 4 }
    }"""
    assert run(text, {"I": numpy.array([3, 7, 0, 1, 1, 1])}, tmp_path)[1] == []


def test_where_does_not_save_a_load(tmp_path):
    text = "kernel k(in I: i64[4], in E: f32[3], inout Y: f32[4]) { Y[n.0] over (n.0:4) = E[I[n.0]] where I[n.0] < 3 }"
    assert run(text, {"I": numpy.array([0, 1, 7, 2])}, tmp_path)[1] == [0]


def test_indices_of_indices_and_scalars(tmp_path):
    text = """kernel k(in I: i64[6], in J: i64[6], in X: f32[6, 3], out Y: f32[4, 3], out Z: f32[4]) {
      for t in 0 .. 4 {
        Y[t, j.0] over (j.0:3) = X[I[J[t]], j.0] + (X[I[t] - 2, j.0] else -1.0)
        Z[t] over () = X[(I[t] + J[t]) % 6, I[t] // 2]
      }
    }"""
    check(text, tmp_path)


def test_an_index_by_a_block_is_computed_again_when_the_block_changes(tmp_path):
    text = """kernel k(in I: i64[6], in X: f32[4, 3], out Y: f32[6, 3], out Z: f32[6, 3]) {
      block b: i64[n.0:6]
      b[n.0] over (n.0:6) = I[n.0] % 4
      Y[n.0, j.0] over (n.0:6, j.0:3) = X[b[n.0], j.0] + (X[(b[n.0] + 3) % 5, j.0] else 0.5)
      b[n.0] over (n.0:6) = (b[n.0] + 1) % 4
      Z[n.0, j.0] over (n.0:6, j.0:3) = X[b[n.0], j.0] + (X[(b[n.0] + 3) % 5, j.0] else 0.5)
    }"""
    text = text.replace("I[n.0] % 4", "mod(I[n.0], 4)").replace("(b[n.0] + 1) % 4", "mod(b[n.0] + 1, 4)")
    check(text, tmp_path)


def test_an_index_that_is_bounded_by_arithmetic_needs_no_check(tmp_path):
    text = "kernel k(in I: i64[6], in X: f32[4, 3], out Y: f32[6, 3]) { Y[n.0, j.0] over (n.0:6, j.0:3) = X[I[n.0] % 4, j.0] }"
    assert triton_unit(parse_kernel(text), TritonOptions()).checks == 0
    check(text, tmp_path, arrays={"I": numpy.array([-3, 7, 0, 12, -1, 5])})


def test_wide_tensors_are_indexed_in_64_bits(tmp_path):
    text = """kernel k(in X: f32[N, M], out Y: f32[4]) for N in 1.., M in 1.. {
      Y[i.0] over (i.0:4) = X[i.0, M - 1]
    }"""
    source = triton_unit(parse_kernel(text), TritonOptions()).source
    assert "tl.int64" in source
    narrow = triton_unit(parse_kernel(text.replace("N in 1..", "N in 1..100").replace("M in 1..", "M in 1..100")), TritonOptions())
    assert "tl.int64" not in narrow.source and [p.type for p in narrow.parameters[2:]] == ["i32", "i32"]
    check(text, tmp_path, {"N": 4, "M": 3})
    wide = "kernel k(in X: f32[4, 100000, 100000], out Y: f32[4]) { Y[i.0] over (i.0:4) = X[i.0, i.0, 7] }"
    assert ".to(tl.int64)" in triton_unit(parse_kernel(wide), TritonOptions()).source
