"""Operations and bytes of kernels, against numbers worked out by hand."""

import pytest

from tcomp.ir.dtypes import f32, f64
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cost.work import count_bytes, count_traffic, find_work
from tcomp.passes.pipeline import compile_cascade
from tests.program_runner import small_target


def find_works(text, strides=None):
    """The work of every kernel of what runs on every call."""
    main = compile_cascade(parse_cascade(text), strides or {}, small_target()).main
    return [find_work(group, dict(main.memories)) for group in main.groups]


def count(text, strides=None, **sizes):
    """Operations and bytes of all kernels together at given sizes."""
    works = find_works(text, strides)
    return sum(extent_value(work.operations, sizes) for work in works), sum(count_bytes(work, sizes) for work in works)


MATMUL = "cascade c(X: f32[8, 32], W: f32[32, 16]) -> (Y) { Y: f32[m:8, n:16] = sum(k:32) X[m, k] * W[k, n] }"


def test_a_matrix_product_is_a_multiplication_and_an_addition_a_point():
    assert count(MATMUL) == (2 * 8 * 16 * 32, 4 * (8 * 32 + 32 * 16 + 8 * 16))


def test_types_tell_the_bytes_and_what_is_computed_in():
    (work,) = find_works("cascade c(X: f64[8]) -> (Y) { Y: f64[i:8] = X[i] * 2.0:f64 }")
    assert (work.dtype, count_bytes(work, {})) == (f64, 2 * 8 * 8)
    (work,) = find_works("cascade c(X: bf16[8]) -> (Y) { Y: bf16[i:8] = bf16(f32(X[i]) * 2.0) }")
    assert (work.dtype, work.operations.constant, count_bytes(work, {})) == (f32, 8, 2 * 2 * 8)


def test_softmax_keeps_within_the_kernel_what_is_not_stored():
    operations, moved = count("""cascade c(X: f32[4, 10]) -> (Y) {
      G: f32[p:4] = max(m:10) X[p, m]
      E: f32[p:4, m:10] = exp(X[p, m] - G[p])
      D: f32[p:4] = sum(m:10) E[p, m]
      Y: f32[p:4, m:10] = E[p, m] / D[p]
    }""")
    # A maximum, a difference, an exponential, a sum and a quotient, each at every point.
    assert (operations, moved) == (5 * 4 * 10, 2 * 4 * 4 * 10)


def test_what_depends_on_fewer_ranks_counts_once_for_each_of_their_points():
    text = "cascade c(E: f32[4, 10], D: f32[4], V: f32[10, 6]) -> (Z) { Z: f32[p:4, f:6] = sum(m:10) exp(E[p, m]) * V[m, f] }"
    assert count(text)[0] == 4 * 10 + 2 * 4 * 10 * 6


def test_equal_operations_of_a_kernel_count_once():
    text = "cascade c(X: f32[4]) -> (Y) { Y: f32[i:4] = exp(X[i]) * exp(X[i]) }"
    assert count(text) == (2 * 4, 2 * 16)


def test_a_convolution_counts_every_tap_also_those_outside():
    operations, moved = count("""cascade c(X: f32[2, 3, 10], W: f32[5, 3, 3]) -> (Y) {
      Y: f32[b:2, o:5, p:10] = sum(c:3, r:3) (X[b, c, p + r - 1] else 0.0) * W[o, c, r]
    }""")
    assert operations == 2 * 2 * 5 * 10 * 3 * 3
    # A kernel that makes room for the taps outside, if there is one, reads and writes as well.
    assert moved >= 4 * (2 * 3 * 10 + 5 * 3 * 3 + 2 * 5 * 10)


def test_a_reduction_counts_what_joining_two_states_takes():
    assert count("cascade c(X: f32[6, 7]) -> (Y) { Y: f32[i:6] = sum(j:7) X[i, j] }") == (6 * 7, 4 * (6 * 7 + 6))
    assert count("cascade c(X: f32[6, 7]) -> (Y) { Y: f32[i:6] = last(j:7) X[i, j] }")[0] == 0
    # Larger, equal and before, each of which no number comes into: six comparisons, six of their combinations, two selections.
    text = "cascade c(X: f32[6, 7]) -> (Y, P) { (Y: f32, P: i64)[i:6] = argmax(j:7) X[i, j] }"
    assert count(text)[0] == 6 * 7 * 14


def test_positions_and_conversions_count_as_nothing():
    assert count("cascade c(X: f32[4]) -> (Y) { Y: f64[i:4] = f64(X[i]) }")[0] == 0
    text = "cascade c(X: f32[4, 4]) -> (Y) { Y: f32[i:4, j:4] = select(i64[i] < i64[j] + 1, X[i, j], 0.0) }"
    assert count(text)[0] == 4 * 4  # the selection, not the mask


def test_a_gather_reads_no_more_than_its_points():
    text = "cascade c(T: f32[100, 8], I: i64[N]) -> (Y) for N in 1.. { Y: f32[n:N, d:8] = T[I[n], d] }"
    for n in (3, 1000):
        # Of the table at most all of it; the indices once; the result.
        assert count(text, N=n) == (0, 4 * 8 * min(n, 100) + 8 * n + 4 * 8 * n)


def test_of_a_slice_that_is_read_counts_what_is_reached():
    text = "cascade c(X: f32[100, 8]) -> (Y) { Y: f32[i:4, d:8] = X[i + 50, d] * 2.0 }"
    assert count(text) == (4 * 8, 2 * 4 * 4 * 8)
    two = "cascade c(X: f32[8, 6]) -> (Y) { Y: f32[i:8, j:2] = X[i, j] * X[i, j + 3] + X[i, j] }"
    assert count(two)[1] == 4 * (2 * 8 * 2 + 8 * 2)


def test_of_what_is_read_twice_no_more_counts_than_there_is():
    text = "cascade c(X: f32[8, 6]) -> (Y) { Y: f32[i:8, j:5] = X[i, j] + X[i, j + 1] }"
    assert count(text)[1] == 4 * (8 * 6 + 8 * 5)


def test_dimensions_of_stride_zero_are_read_once():
    text = "cascade c(X: f32[100, 8]) -> (Y) { Y: f32[i:100, d:8] = X[i, d] * 2.0 }"
    zero, one = (parse_cascade("cascade c(X: f32[0, 1]) -> (X) { }").inputs[0].shape[k] for k in (0, 1))
    assert count(text, {"X": (zero, one)})[1] == 4 * (8 + 100 * 8)


def test_symbols_stay_symbols():
    (work,) = find_works("cascade c(X: f32[N, M]) -> (Y) for N in 1.., M in 1.. { Y: f32[n:N] = sum(m:M) X[n, m] * X[n, m] }")
    assert str(work.operations) == "2*M*N"
    assert count_bytes(work, {"N": 3, "M": 5}) == 4 * (3 * 5 + 3)
    assert [count_traffic(traffic, {"N": 0, "M": 5}) for traffic in work.traffic] == [0, 0]


@pytest.mark.parametrize("kept", ["H", "Z"])
def test_a_scan_counts_every_step(kept):
    body = "iterate t:20 {\n S: f32[t + 1:21, d:8] = S[t, d] * A[t, d] + X[t, d] from 0.0 \n}"
    ends = {"H": "H: f32[t:20, d:8] = S[t + 1, d]", "Z": "Z: f32[d:8] = S[20, d]"}[kept]
    operations, moved = count(f"cascade c(A: f32[20, 8], X: f32[20, 8]) -> ({kept}) {{\n{body}\n{ends}\n}}")
    assert operations == 2 * 20 * 8
    stored = {"H": 20 * 8, "Z": 8}[kept]
    assert 4 * (2 * 20 * 8 + stored) <= moved <= 4 * (2 * 20 * 8 + 21 * 8 + 2 * 20 * 8)


def test_a_scatter_writes_its_target_whole():
    text = "cascade c(I: i64[5], X: f32[5], Y: f32[30]) -> (Z) { Z: f32[I[i]:30] = sum(i:5) X[i] from Y[_0] }"
    assert count(text) == (5, 8 * 5 + 4 * 5 + 4 * 30 + 4 * 30)
