"""Statements of tile programs in Triton's interpreter: maps, folds, merges, masks, buffers, sizes, data; all against the evaluator."""

import numpy
import pytest
from triton_statements import check

from tcomp.codegen.triton import operators as triton_operators
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.errors import Unsupported
from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import run_interpreted

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


MONOIDS_BY_DTYPE = [
    (monoid, dtype)
    for dtype in DTYPES.values()
    for monoid in ("sum", "prod", "max", "min", "any", "all", "xor", "last")
    if {"sum": dtype.kind != "bool", "prod": dtype.kind != "bool", "any": dtype.kind == "bool", "all": dtype.kind == "bool",
        "xor": dtype.kind != "float"}.get(monoid, True)
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_folds(dtype, tmp_path):
    """Every monoid: into an argument, with a predicate, below a limit, merged with an old value, and of nothing."""
    monoids = [monoid for monoid, t in MONOIDS_BY_DTYPE if t == dtype]
    arguments = [f"in X: {dtype}[5, 13]", "in P: bool[5, 13]"]
    body = []
    for monoid in monoids:
        arguments += [f"out {monoid}.a: {dtype}[5]", f"inout {monoid}.b: {dtype}[5]", f"out {monoid}.c: {dtype}[]"]
        arguments.append(f"inout {monoid}.d: {dtype}[3, 5]")
        body += [
            f"{monoid}.a[i.0] over (i.0:5) = {monoid}(k.0:13) X[i.0, k.0]",
            f"{monoid}.b[i.0] over (i.0:5) {monoid}= {monoid}(k.0:13) X[i.0, k.0] where P[i.0, k.0]",
            f"{monoid}.c[] over () = {monoid}(i.0:5, k.0:13) X[i.0, k.0]",
            f"{monoid}.d[j.0, i.0] over (i.0:5, j.0:3) {monoid}= {monoid}(k.0:8 < 0) X[i.0, j.0 + k.0]",
        ]
    check(f"kernel folds({', '.join(arguments)}) {{ {chr(10).join(body)} }}", tmp_path, rounding=16)


def test_a_merge_folds_over_the_axes_that_its_target_lacks(tmp_path):
    text = """kernel k(in X: f32[6, 7], inout Y: f32[6], inout Z: f32[], out T: f32[]) {
      Y[i.0] over (i.0:6, k.0:7) sum= X[i.0, k.0]
      Z[] over (i.0:6) max= sum(k.0:7) X[i.0, k.0]
      block top: f32[]
      top[] over () = -inf
      top[] over (i.0:6, k.0:7) max= X[i.0, k.0] where X[i.0, k.0] < 0.5
      T[] over () = top[]
    }"""
    check(text, tmp_path)


def test_the_last_of_points_that_meet_wins(tmp_path):
    text = """kernel k(in I: i64[9], in X: f32[9, 3], inout Y: f32[6, 3], out Z: f32[]) {
      Y[I[i.0], j.0] over (i.0:9, j.0:3) last= X[i.0, j.0] where X[i.0, j.0] > -0.5
      block z: f32[]
      z[] over () = 7.0
      z[] over (i.0:9) last= X[i.0, 0] where X[i.0, 0] > 0.5
      Z[] over () = z[]
    }"""
    check(text, tmp_path)


def test_points_that_meet_are_merged_one_after_another(tmp_path):
    text = """kernel k(in X: f32[8, 6], inout A: f32[4], inout B: f32[13], inout C: f32[4, 6], in I: i64[8]) {
      A[i.0 // 2] over (i.0:8) sum= X[i.0, 0]
      B[i.0 + j.0] over (i.0:8, j.0:6) prod= X[i.0, j.0]
      C[I[i.0] // 2, j.0] over (i.0:8, j.0:6) max= X[i.0, j.0] where X[i.0, j.0] > 0.0
    }"""
    check(text, tmp_path, rounding=16)


def test_elements_of_a_block_are_scattered(tmp_path):
    """The walked axis picks rows of a block, NaN and -0.0 included."""
    x = numpy.array([[1.0, numpy.nan], [-0.0, numpy.inf], [3.0, -numpy.inf], [4.0, 5.0]], numpy.float32)
    text = """kernel k(in I: i64[4], in X: f32[4, 2], inout Y: f32[6, 2]) {
      block b: f32[i.0:4, j.0:2]
      b[i.0, j.0] over (i.0:4, j.0:2) = X[i.0, j.0] * 2.0
      Y[I[i.0], j.0] over (i.0:4, j.0:2) sum= b[i.0, j.0]
    }"""
    check(text, tmp_path, arrays={"X": x, "I": numpy.array([1, 1, 0, 1])})


def test_a_block_with_other_orders_of_axes_and_single_points(tmp_path):
    text = """kernel k(in X: f32[5, 3], out Y: f32[3, 5], out Z: f32[5], out W: f32[3, 1, 5]) {
      block b: f32[i.0:5, u.0:1, j.0:3]
      b[i.0, u.0, j.0] over (j.0:3, i.0:5, u.0:1) = X[i.0, j.0]
      Y[j.0, i.0] over (j.0:3, u.0:1, i.0:5) = b[i.0, u.0, j.0]
      Z[i.0] over (i.0:5) = sum(j.0:3, u.0:1) b[i.0, u.0, j.0]
      W[j.0, u.0, i.0] over (u.0:1, j.0:3, i.0:5) = b[i.0, u.0, j.0] + f32[u.0]
    }"""
    check(text, tmp_path)


@pytest.mark.parametrize("size", [0, 1, 5, 8, 9, 30])
def test_sizes_and_tails(size, tmp_path):
    text = """kernel k(in X: f32[N, 6], out Y: f32[N, 6], inout S: f32[6]) for N in 0.. {
      block s: f32[j.0:6]
      s[j.0] over (j.0:6) = 0.0
      for n in 0 .. N step 8 {
        Y[n + n.0, j.0] over (n.0:8 < N - n, j.0:6) = X[n + n.0, j.0] + f32[n + n.0]
        s[j.0] over (j.0:6) sum= sum(n.0:8 < N - n) X[n + n.0, j.0]
      }
      S[j.0] over (j.0:6) sum= s[j.0]
    }"""
    check(text, tmp_path, {"N": size}, rounding=16)


def test_what_is_beyond_a_limit_keeps_its_value(tmp_path):
    text = """kernel k(in X: f32[5], out Y: f32[8], out Z: f32[8], out W: f32[]) {
      block b: f32[i.0:8]
      block c: f32[i.0:8]
      b[i.0] over (i.0:8) = -0.0
      b[i.0] over (i.0:8 < 5) sum= X[i.0]
      c[i.0] over (i.0:8) = 1.0
      c[i.0] over (i.0:8 < 5) = X[i.0] * 2.0
      c[i.0] over (i.0:8 < 3) max= X[i.0] where X[i.0] > 0.0
      Y[i.0] over (i.0:8) = copysign(1.0, b[i.0])
      Z[i.0] over (i.0:8) = c[i.0]
      W[] over () = sum(i.0:8) c[i.0]
    }"""
    check(text, tmp_path)


def test_values_outside(tmp_path):
    text = """kernel k(in X: f32[4, 5], in I: i64[6], out Y: f32[8, 7], out Z: f32[8], out W: f32[6]) {
      Y[i.0, j.0] over (i.0:8, j.0:7) = (X[i.0 - 2, j.0 - 1] else -1.5) + (X[i.0 // 2, 4 - j.0] else inf)
      Z[i.0] over (i.0:8) = sum(j.0:7) (X[i.0 - 2, j.0 - 1] else 1.0)
      W[i.0] over (i.0:6) = (X[I[i.0] - 1, 2] else nan)
    }"""
    check(text, tmp_path)


def test_strides(tmp_path):
    text = """kernel k(in X: f32[4, 5] strides (1, 6), in V: f32[4, 5] strides (0, 2), out Y: f32[5, 4] strides (9, 2)) {
      Y[j.0, i.0] over (i.0:4, j.0:5) = X[i.0, j.0] + V[i.0, j.0]
    }"""
    check(text, tmp_path)


def test_a_masked_load_of_what_does_not_move_along_the_limited_axis(tmp_path):
    text = """kernel k(in V: f32[N, 5] strides (0, 1), out Y: f32[N, 5]) for N in 0.. {
      for n in 0 .. N step 4 { Y[n + i.0, j.0] over (i.0:4 < N - n, j.0:5) = V[n + i.0, j.0] }
    }"""
    check(text, tmp_path, {"N": 6})


def test_buffers_and_what_they_hold_in_loops(tmp_path):
    text = """kernel k(in X: f32[3, 9], out Y: f32[3, 9]) {
      parallel r in 0 .. 3 {
        buffer b: f32[9]
        buffer c: i8[9]
        b[i.0] over (i.0:9) = X[r, i.0]
        for t in 0 .. 4 {
          b[i.0] over (i.0:9) = b[8 - i.0] + 1.0
          c[i.0] over (i.0:9) = i8(b[i.0])
        }
        Y[r, i.0] over (i.0:9) = b[i.0] + f32(c[8 - i.0])
      }
    }"""
    check(text, tmp_path)


def test_loops_by_data_sizes_and_turns(tmp_path):
    text = """kernel k(in X: f32[7, 4], out Y: f32[7, 4]) {
      parallel instance in 0 .. 3 {
        for tile in instance .. 7 step 3 {
          block s: f32[]
          s[] over () = 0.0
          for i in 1 .. tile + 1 { s[] over () sum= sum(j.0:4) X[i, j.0] }
          Y[tile, j.0] over (j.0:4) = X[tile, j.0] + s[]
        }
      }
    }"""
    check(text, tmp_path, shuffle=1)


def test_parallel_loops_with_starts_and_steps(tmp_path):
    text = """kernel k(in X: f32[N, 11], out Y: f32[N, 11]) for N in 0..100 {
      parallel n in 0 .. N {
        parallel j in 1 .. 11 step 4 {
          Y[n, j + j.0] over (j.0:4 < 11 - j) = X[n, j + j.0]
        }
      }
    }"""
    arrays = {"Y": numpy.zeros((5, 11), numpy.float32)}
    kernel = parse_kernel(text)
    x = numpy.random.default_rng(0).standard_normal((5, 11)).astype(numpy.float32)
    arrays["X"] = x
    run_interpreted(kernel, arrays, tmp_path, {"N": 5})
    numpy.testing.assert_array_equal(arrays["Y"][:, 1:], x[:, 1:])


def test_conversions(tmp_path):
    """From every dtype to every dtype."""
    names = list(DTYPES)
    wide = numpy.array([0.0, -2.4, 3.6, 5.5, -0.25, 100.0])
    arrays, arguments, body = {}, [], []
    for name, dtype in DTYPES.items():
        values = wide if dtype.signed or dtype.is_float else abs(wide)
        held = values.astype(storage(dtype)) if dtype.kind != "bool" else values != 0
        arrays[f"X{name}"] = round_float(held, dtype) if dtype.is_float and dtype.bits < 32 else held
        arguments += [f"in X{name}: {name}[6]", *(f"out Y{name}{other}: {other}[6]" for other in names)]
        for other in names:
            # A negative float is outside u8.
            value = f"abs(X{name}[i.0])" if dtype.is_float and other == "u8" else f"X{name}[i.0]"
            body.append(f"Y{name}{other}[i.0] over (i.0:6) = {other}({value})")
    check(f"kernel k({', '.join(arguments)}) {{ {chr(10).join(body)} }}", tmp_path, arrays=arrays, rounding=0)


def test_conversions_beyond_the_range_of_narrow_floats(tmp_path):
    ends = [447.0, 463.0, 465.0, 57344.0, 61439.0, 61440.0, 65519.0, 65520.0]
    values = numpy.array([1e9, -1e9, numpy.inf, -numpy.inf, numpy.nan, *ends, 1e-9, -1e-9, 3.4e38], numpy.float32)
    names = ["f16", "bf16", "e4m3", "e5m2"]
    body = [f"Y{b}[i.0] over (i.0:16) = {b}(X[i.0])" for b in names]
    arguments = ["in X: f32[16]", *(f"out Y{b}: {b}[16]" for b in names)]
    check(f"kernel k({', '.join(arguments)}) {{ {chr(10).join(body)} }}", tmp_path, arrays={"X": values}, rounding=0)


def test_literals_keep_their_dtypes(tmp_path):
    text = """kernel k(in X: f64[4], in H: bf16[4], in A: i8[4], in L: i64[4], out Y: f64[4], out Z: bf16[4], out B: i8[4], out M: i64[4],
                       out S: f32[], out D: f32[4], out T: f64[], out U: f32[4], out V: i8[4]) {
      Y[i.0] over (i.0:4) = select(X[i.0] > 0.1:f64, X[i.0] * 0.1:f64, 0.1:f64)
      Z[i.0] over (i.0:4) = select(X[i.0] > 0.0:f64, 0.1:bf16, H[i.0] + 0.1:bf16)
      B[i.0] over (i.0:4) = select(X[i.0] > 0.0:f64, 100:i8, A[i.0] * 100:i8)
      M[i.0] over (i.0:4) = maximum(L[i.0] - 9223372036854775807, -5)
      S[] over () = 1e-41
      D[i.0] over (i.0:4) = select(X[i.0] > 0.0:f64, 1e-41, maximum(f32(X[i.0]), 1e-40))
      T[] over () = sqrt(2.0:f64) + 0.1:f64
      U[i.0] over (i.0:4) = f32(X[i.0]) / 1e-39 + 1.0 / f32(X[i.0]) + 2.0 / 3.0
      V[i.0] over (i.0:4) = pow(A[i.0], 3:i8) + pow(2:i8, A[i.0]) + floordiv(A[i.0] - 3:i8, 2:i8) + mod(-7:i8, A[i.0] + 1:i8)
    }"""
    check(text, tmp_path, rounding=0.5)


def test_indices_as_values_and_comparisons_of_indices(tmp_path):
    text = """kernel k(out Y: i64[5, 6], out Z: f32[5], out W: i8[6], out V: bool[5, 6]) {
      for t in 3 .. 4 {
        Y[i.0, j.0] over (i.0:5, j.0:6) =
          select(i64[i.0 + t] <= i64[2*j.0], i64[i.0 * 100000000000 + j.0], i64[(i.0 - 3) // 2 + (j.0 - 4) % 3])
        Z[i.0] over (i.0:5) = f32[i.0 + t]
        W[j.0] over (j.0:6) = i8[50*j.0]
        V[i.0, j.0] over (i.0:5, j.0:6) = i64[i.0] < 9223372036854775807 & i64[j.0] != i64[i.0]
      }
    }"""
    check(text, tmp_path)


def test_large_statements_become_loops(tmp_path, monkeypatch):
    monkeypatch.setattr("tcomp.codegen.triton.prepare.MOST_POINTS", 64)
    text = """kernel k(in X: f32[9, 10, 4], out Y: f32[9], out Z: f32[9, 10], inout W: f32[9, 4]) {
      Y[i.0] over (i.0:9) = max(j.0:10, k.0:4) X[i.0, j.0, k.0]
      Z[i.0, j.0] over (i.0:9, j.0:10) = sum(k.0:4) X[i.0, j.0, k.0] where X[i.0, j.0, k.0] > 0.0
      W[i.0, k.0] over (i.0:9 < 7, k.0:4) sum= sum(j.0:10 < 9) X[i.0, j.0, k.0]
    }"""
    check(text, tmp_path, rounding=16)


def test_more_points_than_a_tensor_may_have_are_refused():
    text = """kernel k(in X: f32[2097152], out Y: f32[2097152]) {
      block b: f32[i.0:2097152]
      b[i.0] over (i.0:2097152) = X[i.0]
    }"""
    with pytest.raises(Unsupported, match="2097152 points at once"):
        triton_unit(parse_kernel(text), TritonOptions())


def test_a_wrong_result_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(triton_operators, "FOLDS", {"max": "min"})
    with pytest.raises(AssertionError):
        check("kernel k(in X: f32[5, 8], out Y: f32[5]) { Y[i.0] over (i.0:5) = max(k.0:8) X[i.0, k.0] }", tmp_path)
