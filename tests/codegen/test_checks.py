"""Indices that are data are checked where they are used, and nowhere else."""

import numpy
import pytest
from c_programs import Run, run_compiled
from tile_programs import read_kernel

from tcomp.codegen.c.kernel import kernel_source
from tcomp.codegen.checks import IndexCheck, ProgramCheck, find_checks, program_checks
from tcomp.ir.evaluate.arrays import storage
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.tile import parse_kernel

ROWS = "in I: i64[6], in X: f32[4, 40], out Y: f32[6, 40] { parallel i in 0 .. 6 { Y[i, j.0] over (j.0:40) = X[I[i], j.0] } }"
LANES = "in I: i64[37], in X: f32[4], out Y: f32[37] { Y[i.0] over (i.0:37) = X[I[i.0]] }"
NARROW = "in I: i32[37], in X: bf16[4], out Y: bf16[37] { Y[i.0] over (i.0:37) = X[I[i.0]] }"
COMPUTED = "in I: i64[37], in X: f32[4], out Y: f32[37] { Y[i.0] over (i.0:37) = X[value(I[i.0] * 2 - 3)] }"
SYMBOLIC = "in I: i64[37], in X: f32[N], out Y: f32[37] for N in 1.. { Y[i.0] over (i.0:37) = X[I[i.0]] }"
WINDOW = "in I: i64[6], in X: f32[40], out Y: f32[6, 20] { parallel i in 0 .. 6 { Y[i, j.0] over (j.0:20) = X[I[i] + j.0] } }"
STORE = """in I: i64[6], in X: f32[6, 40], inout Y: f32[4, 40] {
    for i in 0 .. 6 { Y[I[i], j.0] over (j.0:40) sum= X[i, j.0] } }"""
STORE_LANES = "in I: i64[37], in X: f32[37], inout Y: f32[4] { Y[I[i.0]] over (i.0:37) sum= X[i.0] }"
STORE_WHERE = "in I: i64[37], in X: f32[37], inout Y: f32[4] { Y[I[i.0]] over (i.0:37) sum= X[i.0] where I[i.0] != 9 }"
GUARDED = "in I: i64[37], in X: f32[4], out Y: f32[37] { Y[i.0] over (i.0:37) = (X[I[i.0]] else 1.0) }"
PROVED = "in I: i64[37], in X: f32[4], out Y: f32[37] { Y[i.0] over (i.0:37) = X[I[i.0] % 4] }"


def make_kernel(text):
    signature, body = text.split(" {", 1)
    parameters, _, symbols = signature.partition(" for ")
    return parse_kernel(f"kernel k({parameters}){' for ' + symbols if symbols else ''} {{{body}")


def make_arrays(kernel, length=4):
    random = numpy.random.default_rng(0)
    arrays = {}
    for argument in kernel.arguments:
        shape = [e.constant if e.is_constant else length for e in argument.shape]
        held = storage(argument.dtype)
        arrays[argument.name] = (random.integers(0, 4, shape) if argument.name == "I" else random.integers(-9, 9, shape)).astype(held)
    return arrays


@pytest.mark.parametrize("text", [ROWS, LANES, NARROW, SYMBOLIC, STORE, STORE_LANES, STORE_WHERE], ids=lambda text: text[:60])
@pytest.mark.parametrize("bad", [None, -1, 4, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("place", [0, 5])
def test_what_is_outside_is_reported_and_leaves_memory_alone(text, bad, place, tmp_path_factory):
    kernel = make_kernel(text)
    symbols = {symbol.name: 4 for symbol in kernel.symbols}
    arrays = make_arrays(kernel)
    harmless = {name: array.copy() for name, array in arrays.items()}
    if bad is not None:
        arrays["I"][place] = bad
        harmless["I"][place] = bad if "inout" in text else 0
    evaluate_kernel(kernel, harmless, symbols)
    folder = tmp_path_factory.getbasetemp() / "checks"
    for _ in range(2):
        again = {name: array.copy() for name, array in arrays.items()}
        assert run_compiled([Run(kernel, again, symbols)], folder) == (bad is not None)
        numpy.testing.assert_array_equal(again["Y"], harmless["Y"])


def test_indices_computed_from_data_are_checked_as_they_are(tmp_path):
    kernel = make_kernel(COMPUTED)
    arrays = make_arrays(kernel)
    arrays["I"][:] = 2 + numpy.arange(37) % 2
    assert run_compiled([Run(kernel, arrays)], tmp_path) == 0
    arrays["I"][36] = 1
    assert run_compiled([Run(kernel, arrays)], tmp_path) == 1


@pytest.mark.parametrize(("start", "fault"), [(0, 0), (20, 0), (21, 1), (-1, 1), (2**62, 1)])
def test_windows_that_begin_at_data_are_checked_at_every_point(start, fault, tmp_path_factory):
    kernel = make_kernel(WINDOW)
    arrays = make_arrays(kernel)
    arrays["I"][5] = start
    assert run_compiled([Run(kernel, arrays)], tmp_path_factory.getbasetemp() / "checks") == fault
    if not fault:
        numpy.testing.assert_array_equal(arrays["Y"][5], arrays["X"][start : start + 20])


def test_points_that_are_not_stored_are_not_checked(tmp_path):
    kernel = make_kernel(STORE_WHERE)
    arrays = make_arrays(kernel)
    arrays["I"][[3, 20, 36]] = 9
    assert run_compiled([Run(kernel, arrays)], tmp_path) == 0
    arrays["I"][36] = 8
    assert run_compiled([Run(kernel, arrays)], tmp_path) == 1


def test_an_empty_table_is_not_read(tmp_path):
    kernel = make_kernel(SYMBOLIC.replace("1..", "0.."))
    arrays = make_arrays(kernel, length=0)
    assert run_compiled([Run(kernel, arrays, {"N": 0})], tmp_path) == 1
    assert (arrays["Y"] == 0).all()


def test_the_first_step_that_fails_is_named(tmp_path):
    kernels = [make_kernel(text) for text in (LANES, STORE, ROWS)]
    runs = [Run(kernel, make_arrays(kernel)) for kernel in kernels]
    assert run_compiled(runs, tmp_path, threads=1) == 0
    runs[2].arrays["I"][1] = 7
    assert run_compiled(runs, tmp_path, threads=1) == 3
    runs[1].arrays["I"][1] = 7
    assert run_compiled(runs, tmp_path, threads=1) == 2


@pytest.mark.parametrize("text", [GUARDED, PROVED])
def test_indices_that_cannot_harm_are_not_checked(text):
    kernel = make_kernel(text)
    assert find_checks(kernel) == ()
    assert "fault" not in kernel_source(kernel)


def test_checks_are_told_apart():
    four = as_index(4)
    both = "in I: i64[4], inout Y: f32[4] { Y[I[i.0]] over (i.0:4) = Y[I[i.0]] + f32(I[I[i.0]]) }"
    assert find_checks(make_kernel(both)) == (
        IndexCheck("Y", 0, four, True),
        IndexCheck("Y", 0, four, False),
        IndexCheck("I", 0, four, False),
    )


def test_checks_of_a_program_name_what_the_plan_passes():
    plan = parse_plan("plan (A, B, C) arena 640 {\n  k(A + 0, B + 0, arena + 0)\n  k(A + 0, arena + 0, C + 0)\n}")
    assert program_checks(plan, {"k": make_kernel(LANES)}) == (
        ProgramCheck(0, "B", as_index(4)),
        ProgramCheck(1, "arena", as_index(4)),
    )


def test_a_gather_reads_well(golden):
    golden.check("c_gather.txt", kernel_source(read_kernel("tile_gather.txt")))
