"""The evaluator of tile programs against numpy, and that it sees each fault it promises to see."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_programs import CASES, NAMES, read_kernel

from tcomp.ir.check.tile import check_kernel
from tcomp.ir.dtypes import bf16
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.tile import parse_kernel


def run_case(kernel, case, float64, **options):
    """Evaluate a kernel on a case; return what it wrote."""
    arrays = {}
    for argument in kernel.arguments:
        held = storage(argument.dtype, float64)
        if argument.name in case.inputs:
            array = case.inputs[argument.name].astype(held)
            is_bf16 = argument.dtype == bf16 and not float64
            arrays[argument.name] = round_float(array, bf16) if is_bf16 else array.copy()
        else:
            arrays[argument.name] = numpy.zeros(case.expected[argument.name].shape, held)
    evaluate_kernel(kernel, arrays, case.symbols, float64=float64, **options)
    return {name: arrays[name] for name in case.expected}


def run(text, symbols=None, **arrays):
    evaluate_kernel(parse_kernel(text), arrays, symbols)


def test_every_tile_program_has_a_case():
    assert sorted({name for name, _ in CASES}) == NAMES


@pytest.mark.parametrize("shuffle", [None, 1])
@pytest.mark.parametrize(("name", "make"), CASES)
def test_tile_programs_compute_what_numpy_computes(name, make, shuffle):
    case = make()
    for target, found in run_case(read_kernel(name), case, True, shuffle=shuffle).items():
        numpy.testing.assert_allclose(found, case.expected[target], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "make"), CASES)
def test_tile_programs_round_as_their_types_say(name, make):
    # In f32 the longest chain of additions is 45 and no sum exceeds 64: each addition rounds by at most 2**-24 of 64.
    # In bf16 the input and the result are rounded, each by at most 2**-9 of values below 16.
    case, kernel = make(), read_kernel(name)
    dtypes = {argument.name: argument.dtype for argument in kernel.arguments}
    for target, found in run_case(kernel, case, False).items():
        tolerance = 45 * 64 * 2**-24 if dtypes[target].bits > 16 else 2 * 16 * 2**-9
        numpy.testing.assert_allclose(found, case.expected[target], rtol=tolerance, atol=tolerance)
        if dtypes[target] == bf16:
            assert (round_float(found, bf16) == found).all()


@given(*[st.integers(1, 9)] * 3, *[st.integers(1, 4)] * 3, st.booleans())
@settings(deadline=None)
def test_any_tiling_of_a_matmul_computes_the_matmul(m, n, k, tile_m, tile_n, tile_k, transposed):
    """Every size against every tile, so that tails of all lengths occur."""
    strides = f" strides (1, {m})" if transposed else ""
    limits = f"m.0:{tile_m} < {m} - m, n.0:{tile_n} < {n} - n"
    kernel = parse_kernel(f"""
        kernel mm(in A: f64[{m}, {k}]{strides}, in B: f64[{k}, {n}], out C: f64[{m}, {n}]) {{
          parallel m in 0 .. {m} step {tile_m} {{
            parallel n in 0 .. {n} step {tile_n} {{
              block acc: f64[m.0:{tile_m}, n.0:{tile_n}]
              acc[m.0, n.0] over (m.0:{tile_m}, n.0:{tile_n}) = 0.0:f64
              for k in 0 .. {k} step {tile_k} {{
                acc[m.0, n.0] over ({limits}) sum= sum(k.0:{tile_k} < {k} - k) A[m + m.0, k + k.0] * B[k + k.0, n + n.0]
              }}
              C[m + m.0, n + n.0] over ({limits}) = acc[m.0, n.0]
            }}
          }}
        }}""")
    check_kernel(kernel)
    generator = numpy.random.default_rng(0)
    a, b, c = generator.standard_normal((m, k)), generator.standard_normal((k, n)), numpy.zeros((m, n))
    memory = (a.T if transposed else a).copy().reshape(-1)
    evaluate_kernel(kernel, {"A": memory, "B": b, "C": c}, shuffle=0)
    numpy.testing.assert_allclose(c, a @ b, rtol=1e-13, atol=1e-13)


def test_flat_memory_is_reached_by_strides():
    memory = numpy.arange(12, dtype=numpy.float32)
    y = numpy.zeros(3, numpy.float32)
    run("kernel k(in X: f32[3] strides (4), out Y: f32[3]) { Y[i] over (i:3) = X[i] }", X=memory, Y=y)
    assert y.tolist() == [0, 4, 8]


def test_a_partial_step_touches_only_points_below_the_limit():
    y = numpy.zeros(8, numpy.float32)
    text = "kernel k(inout Y: f32[8]) for N in 1..8 { for n in 0 .. N step 4 { Y[n + i] over (i:4 < N - n) = 1.0 } }"
    run(text, {"N": 6}, Y=y)
    assert y.tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


def test_loops_start_and_step_where_they_say():
    y = numpy.zeros(10, numpy.float32)
    run("kernel k(inout Y: f32[10]) { for n in 2 .. 9 step 3 { Y[n] over () = 1.0 } }", Y=y)
    assert y.nonzero()[0].tolist() == [2, 5, 8]


def test_no_point_of_an_assign_sees_anothers_write():
    y = numpy.arange(4, dtype=numpy.float32)
    run("kernel k(inout Y: f32[4]) { Y[i] over (i:4) = Y[3 - i] }", Y=y)
    assert y.tolist() == [3, 2, 1, 0]


def test_a_merge_folds_all_points_that_meet():
    y = numpy.ones(2, numpy.float32)
    run("kernel k(inout Y: f32[2]) { Y[i // 2] over (i:4) sum= f32[i] }", Y=y)
    assert y.tolist() == [2, 6]


def test_the_last_of_the_points_that_meet_wins():
    y = numpy.ones(2, numpy.float32)
    run("kernel k(inout Y: f32[2]) { Y[i % 2] over (i:4) last= f32[i] }", Y=y)
    assert y.tolist() == [2, 3]


def test_where_leaves_out_reduced_points():
    y = numpy.zeros(2, numpy.float32)
    run("kernel k(out Y: f32[2]) { Y[i] over (i:2) = sum(j:4) f32[j] where i64[i] < i64[j] }", Y=y)
    assert y.tolist() == [6, 5]


@pytest.mark.parametrize("merge", ["", "sum"])
@pytest.mark.parametrize(("limit", "expected"), [(0, 3), (1, 5)])
def test_where_leaves_out_the_only_point(merge, limit, expected):
    """A block without axes has one element, at no index."""
    y = numpy.zeros(1, numpy.float32)
    value = "2.0" if merge else "5.0"
    body = f"block b: f32[] b[] over () = 3.0 b[] over () {merge}= {value} where i64[N] > 0 Y[0] over () = b[]"
    run(f"kernel k(out Y: f32[1]) for N in 0.. {{ {body} }}", {"N": limit}, Y=y)
    assert y.tolist() == [expected]


def test_an_empty_reduction_gives_the_identity():
    y = numpy.zeros(1, numpy.float32)
    run("kernel k(out Y: f32[1]) for N in 0.. { Y[i] over (i:1) = max(j:4 < N) f32[j] }", {"N": 0}, Y=y)
    assert y.tolist() == [-numpy.inf]


def test_a_narrow_sum_is_kept_in_f32_and_rounded_once():
    x = numpy.array([256, 1, 1, 1], numpy.float32)
    y = numpy.zeros(1, numpy.float32)
    run("kernel k(in X: bf16[4], out Y: bf16[1]) { Y[i] over (i:1) = sum(j:4) X[j] }", X=x, Y=y)
    assert y.tolist() == [260]


@pytest.mark.parametrize("place", ["block b: f32[i:4]", "buffer b: f32[4]"])
def test_memory_is_poisoned_each_time_it_begins_to_live(place):
    y = numpy.zeros(8, numpy.float32)
    fill = "b[i] over (i:4 < 4 - n) = 1.0"
    run(f"kernel k(out Y: f32[8]) {{ for n in 0 .. 8 step 4 {{ {place} {fill} Y[i + n] over (i:4) = b[i] }} }}", Y=y)
    assert (y[:4] == 1).all()
    assert numpy.isnan(y[4:]).all()


def test_outputs_are_poisoned():
    y, z = numpy.ones(4, numpy.float32), numpy.zeros(4, numpy.int32)
    run("kernel k(out Y: f32[4], out Z: i32[4]) { Y[i] over (i:2) = 0.0 }", Y=y, Z=z)
    assert numpy.isnan(y[2:]).all()
    assert len(set(z.tolist())) > 1


FAULTS = [
    ("in X: f32[4], out Y: f32[4]", "Y[i] over (i:4) = X[i + 1]", "reads [4]"),
    ("in X: f32[4], out Y: f32[4]", "Y[i] over (i:4) = X[i + 1] where i64[i] < 3", "reads [4]"),
    ("in X: f32[4], out Y: f32[4]", "Y[i - 1] over (i:4) = X[i]", "writes [-1]"),
    ("in X: f32[4], out Y: f32[4]", "Y[i // 2] over (i:4) = X[i]", "two points write one element"),
    ("in X: f32[4], out Y: f32[4]", "parallel n in 0 .. 4 { Y[0] over () = X[n] }", "another parallel instance writes"),
    ("in X: f32[4], out Y: f32[4]", "parallel n in 0 .. 4 { Y[0] over () sum= X[n] }", "another parallel instance writes"),
    ("in X: f32[4], inout Y: f32[4]", "parallel n in 0 .. 4 { Y[n] over () = Y[3 - n] }", "another parallel instance"),
    ("in X: f32[4], out Y: f32[4]", "parallel n in 0 .. 2 { for m in n .. 4 { Y[m] over () = X[m] } }", "another parallel instance"),
    ("in X: f32[4], inout Y: f32[4]", "parallel n in 0 .. 4 { Y[0] over () atomic sum= Y[n] }", "that another parallel instance"),
    ("in X: f32[4], inout Y: f32[4]", "parallel n in 0 .. 4 { Y[n] over () = X[n] Y[0] over () atomic sum= X[n] }", "another parallel"),
    ("in X: f32[4], inout Y: f32[4]", "parallel n in 0 .. 4 { Y[0] over () atomic sum= X[n] Y[n] over () = X[n] }", "another parallel"),
    ("in X: f32[4], inout Y: f32[4]", "parallel n in 0 .. 4 { Y[n + 1] over () atomic sum= X[n] }", "writes [4]"),
    ("in X: f32[4], inout Y: f32[5]", "parallel n in 0 .. 4 { Y[n + 1] over () = Y[n] }", "that another parallel instance writes"),
    ("in X: f32[4], inout Y: f32[5]", "parallel n in 0 .. 4 { Y[n] over () = Y[n + 1] }", "that another parallel instance reads"),
]


@pytest.mark.parametrize(("arguments", "body", "message"), FAULTS)
def test_faults_of_a_program_are_seen(arguments, body, message):
    kernel = parse_kernel(f"kernel k({arguments}) {{ {body} }}")
    arrays = {a.name: numpy.ones(a.shape[0].constant, numpy.float32) for a in kernel.arguments}
    with pytest.raises(VerifyError) as caught:
        evaluate_kernel(kernel, arrays)
    assert message in caught.value.what
    assert " over " in caught.value.where


@pytest.mark.parametrize("shuffle", [None, 1])
@pytest.mark.parametrize(("monoid", "expected"), [("sum", [4, 7]), ("max", [3, 5]), ("min", [-2, 0])])
def test_instances_may_meet_in_an_atomic_merge(monoid, expected, shuffle):
    x, i, y = numpy.array([3, 1, 5, -2, 2]), numpy.array([0, 0, 1, 0, 1]), numpy.array([2, 0])
    text = f"kernel k(in X: i64[5], in I: i64[5], inout Y: i64[2]) {{ parallel n in 0 .. 5 {{ Y[I[n]] over () atomic {monoid}= X[n] }} }}"
    evaluate_kernel(parse_kernel(text), {"X": x, "I": i, "Y": y}, shuffle=shuffle)
    assert y.tolist() == expected


def test_points_and_instances_may_meet_in_one_atomic_merge():
    y = numpy.zeros(2, numpy.float32)
    run("kernel k(inout Y: f32[2]) { parallel n in 0 .. 3 { Y[i // 2] over (i:4) atomic sum= f32[i] } }", Y=y)
    assert y.tolist() == [3, 15]


def test_instances_walk_a_loop_in_turns():
    y = numpy.zeros(7, numpy.float32)
    run("kernel k(out Y: f32[7]) { parallel n in 0 .. 3 { for m in n .. 7 step 3 { Y[m] over () = f32[n] } } }", Y=y)
    assert y.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_an_instance_may_read_what_it_wrote_and_all_may_read_the_same():
    x, y = numpy.arange(4, dtype=numpy.float32), numpy.zeros(4, numpy.float32)
    body = "parallel n in 0 .. 4 { Y[n] over () = X[0] Y[n] over () sum= Y[n] + X[n] }"
    run(f"kernel k(inout X: f32[4], out Y: f32[4]) {{ {body} }}", X=x, Y=y)
    assert y.tolist() == [0, 1, 2, 3]


def test_an_outside_value_makes_reads_beyond_the_bounds_legal():
    x, y = numpy.ones(3, numpy.float32), numpy.zeros(5, numpy.float32)
    run("kernel k(in X: f32[3], out Y: f32[5]) { Y[i] over (i:5) = (X[i - 1] else 7.0) }", X=x, Y=y)
    assert y.tolist() == [7, 1, 1, 1, 7]


def test_arguments_and_symbols_have_to_be_there_and_fit():
    text = "kernel k(out Y: f32[N]) for N in 2..4 { Y[i] over (i:2) = 0.0 }"
    y = numpy.zeros(3, numpy.float32)
    with pytest.raises(VerifyError, match="symbol N has no value"):
        run(text, Y=y)
    with pytest.raises(VerifyError, match=r"N = 5 is not in 2\.\.4"):
        run(text, {"N": 5}, Y=y)
    with pytest.raises(VerifyError, match="argument Y has no array"):
        run(text, {"N": 3})


def test_a_store_by_data_outside_its_target_is_dropped_and_a_load_is_an_error():
    y = numpy.zeros(3, numpy.float32)
    run("kernel k(in I: i64[4], inout Y: f32[3]) { Y[I[i]] over (i:4) sum= 1.0 }", I=numpy.array([0, 3, -1, 2]), Y=y)
    assert y.tolist() == [1, 0, 1]
    with pytest.raises(VerifyError, match="X: reads"):
        run(
            "kernel k(in I: i64[1], in X: f32[3], out Y: f32[1]) { Y[i] over (i:1) = X[I[i]] }",
            I=numpy.array([3]), X=numpy.zeros(3, numpy.float32), Y=y[:1],
        )  # fmt: skip
