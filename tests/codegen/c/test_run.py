"""Compiled programs on numpy buffers: strides, arenas, symbols, and buffers that will not do."""

import ml_dtypes
import numpy
import pytest
from c_programs import find_compiler

from tcomp.codegen.c.build import build_program
from tcomp.codegen.c.run import Draw, draw_buffer, make_buffer, make_call, run_call, time_calls
from tcomp.codegen.launch import plan_alone
from tcomp.codegen.timing import Timing
from tcomp.ir.errors import VerifyError
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.tile import parse_kernel

TURN = parse_kernel("""kernel turn(in X: bf16[4, N] strides (N + 3, 1), out Y: f32[N, 4] strides (8, 2)) for N in 1..1000 {
  parallel i in 0 .. N { Y[i, j.0] over (j.0:4) = f32(X[j.0, i]) * 2.0 } }""")
TWICE = parse_kernel("""kernel twice(in X: f32[N], out Y: f32[N]) for N in 1..1000 {
  parallel i in 0 .. N { Y[i] over () = X[i] * 2.0 } }""")
PICK = parse_kernel("""kernel pick(in X: f32[8], in I: i64[4], out Y: f32[4]) {
  Y[i.0] over (i.0:4) = X[value(I[i.0])] }""")
PLAN = parse_plan("""plan (X, Y) arena 4*N + 64 for N in 1..1000 {
  a(X + 0, arena + 64)
  b(arena + 64, Y + 0)
}""")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def make(folder, kernel, symbols=None, **options):
    plan, kernels = plan_alone(kernel), {kernel.name: kernel}
    library = build_program(plan, kernels, toolchain=find_compiler(), cache_directory=folder)
    return make_call(library, plan, kernels, symbols, **options)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_kernel_runs_on_buffers_with_its_strides(folder, threads):
    sizes = {"N": 10}
    call = make(folder, TURN, sizes, threads=threads)
    buffers = {argument.name: make_buffer(argument, sizes) for argument in TURN.arguments}
    assert buffers["X"].dtype == ml_dtypes.bfloat16
    assert buffers["X"].strides == (26, 2)
    assert buffers["Y"].strides == (32, 8)
    buffers["X"][...] = numpy.arange(40).reshape(4, 10)
    buffers["Y"].base[...] = 0
    assert run_call(call, buffers) == 0
    assert (buffers["Y"] == 2 * numpy.arange(40).reshape(4, 10).T).all()
    # What lies between the elements stays.
    assert numpy.count_nonzero(numpy.frombuffer(buffers["Y"].base, numpy.float32)) == 39


def test_a_program_has_an_arena_of_its_own(folder):
    kernels = {"a": TWICE, "b": TWICE}
    library = build_program(PLAN, kernels, toolchain=find_compiler(), cache_directory=folder)
    call = make_call(library, PLAN, kernels, {"N": 7}, threads=2)
    assert [(e.name, e.bytes, e.is_written) for e in call.externals] == [("X", 28, False), ("Y", 28, True)]
    assert call.arena == 92
    x, y = numpy.arange(7, dtype=numpy.float32), numpy.zeros(7, numpy.float32)
    assert run_call(call, {"Y": y, "X": x}) == 0
    assert (y == 4 * x).all()


def test_no_more_threads_than_instances(folder):
    assert make(folder, TWICE, {"N": 3}, threads=8).threads == 3
    assert make(folder, PICK, threads=8).threads == 1


def test_an_index_that_is_outside_is_told(folder):
    call = make(folder, PICK)
    buffers = {"X": numpy.ones(8, numpy.float32), "I": numpy.array([0, 1, 8, 2]), "Y": numpy.zeros(4, numpy.float32)}
    assert run_call(call, buffers) == 1
    buffers["I"][2] = 7
    assert run_call(call, buffers) == 0


FEW = numpy.zeros(10, numpy.float32)


def locked():
    array = FEW.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ({"X": FEW}, "there is no buffer for Y"),
        ({"X": FEW, "Y": FEW[1:]}, "Y reaches over 36 bytes and takes 40"),
        ({"X": FEW[:0], "Y": FEW}, "X reaches over 0 bytes"),
        ({"X": FEW[::-1], "Y": FEW}, "X is walked backwards"),
        ({"X": FEW, "Y": locked()}, "Y is written and may only be read"),
    ],
)
def test_buffers_that_will_not_do_are_refused(folder, buffers, message):
    call = make(folder, TWICE, {"N": 10})
    with pytest.raises(VerifyError, match=message) as caught:
        run_call(call, buffers)
    assert caught.value.where and caught.value.help


def test_a_symbol_needs_a_value(folder):
    with pytest.raises(VerifyError, match="the symbol N has no value"):
        make(folder, TWICE, {"M": 10})


def test_an_argument_without_elements_takes_no_memory():
    kernel = parse_kernel("kernel none(in X: f32[N, 4], out Y: f32[4]) for N in 0..9 { Y[i.0] over (i.0:4) = 0.0 }")
    assert make_buffer(kernel.arguments[0], {"N": 0}).shape == (0, 4)


def test_data_is_made_up_alike_and_indices_are_zero():
    one, other = draw_buffer(Draw("f16", 100_000)), draw_buffer(Draw("f16", 100_000))
    assert one.dtype == numpy.float16
    assert one.ctypes.data % 64 == 0
    assert (one == other).all()
    assert 0.9 < one.astype(numpy.float32).std() < 1.1
    assert not draw_buffer(Draw("i64", 10)).any() and not draw_buffer(Draw("bool", 10)).any()
    assert draw_buffer(Draw("f32", 0)).size == 0


def test_calls_are_timed_on_their_buffers(folder):
    call = make(folder, TWICE, {"N": 10})
    buffers = [{"X": FEW, "Y": FEW.copy()} for _ in range(2)]
    times = time_calls([call, call], buffers, Timing(warmups=1, repeats=2))
    assert len(times) == 2 and all(seconds > 0 for seconds in times)
