"""Compiled programs in a child process: it computes what this one would, and neither a crash nor an endless loop of its is ours."""

import numpy
import pytest
from c_programs import find_compiler

from tcomp.codegen.c import child as module
from tcomp.codegen.c.build import build_program
from tcomp.codegen.c.child import Child
from tcomp.codegen.c.run import Draw, make_buffer, make_call
from tcomp.codegen.c.toolchain import Compilation, compile_objects, link_library
from tcomp.codegen.launch import plan_alone
from tcomp.codegen.timing import Timing
from tcomp.ir.errors import KernelFault, ToolchainError, VerifyError
from tcomp.ir.parse.tile import parse_kernel

TURN = parse_kernel("""kernel turn(in X: bf16[4, N] strides (N + 3, 1), out Y: f32[N, 4] strides (8, 2)) for N in 1..1000 {
  parallel i in 0 .. N { Y[i, j.0] over (j.0:4) = f32(X[j.0, i]) * 2.0 } }""")
# Four billion steps of four billion, each waiting for the last.
ENDLESS = parse_kernel("""kernel endless(in X: f32[1], out Y: f32[1]) {
  for i in 0 .. 4000000000 { for j in 0 .. 4000000000 { Y[0] over () = sin(Y[0] + X[0]) } } }""")
CRASH = "int tcomp_run(void *const *e, char *a, const long *s, int t, int f) { *(volatile int *)8 = 1; return 0; }"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def child():
    child = Child()
    yield child
    child.close()


def make(folder, kernel, symbols=None):
    plan, kernels = plan_alone(kernel), {kernel.name: kernel}
    library = build_program(plan, kernels, toolchain=find_compiler(), cache_directory=folder)
    return make_call(library, plan, kernels, symbols, threads=2)


def make_crash(folder):
    source = folder / "crash.c"
    source.write_text(CRASH)
    compile_objects(find_compiler(), [Compilation(source, folder / "crash.o", ("-fvisibility=default",))])
    link_library(find_compiler(), [folder / "crash.o"], folder / "crash.so")
    return make_call(folder / "crash.so", plan_alone(TURN), {"turn": TURN}, {"N": 5})


def run_turn(child, folder):
    sizes = {"N": 10}
    buffers = {argument.name: make_buffer(argument, sizes) for argument in TURN.arguments}
    buffers["X"][...] = numpy.arange(40).reshape(4, 10)
    assert child.run(make(folder, TURN, sizes), buffers) == 0
    assert (buffers["Y"] == 2 * numpy.arange(40).reshape(4, 10).T).all()
    assert (buffers["X"] == numpy.arange(40).reshape(4, 10)).all()


def test_a_child_computes_what_this_process_would(child, folder):
    run_turn(child, folder)


def test_times_come_back(child, folder):
    call = make(folder, TURN, {"N": 10})
    draws = (Draw("bf16", 100), Draw("f32", 100))
    times = child.time([call, call], [draws, draws], Timing(warmups=1, repeats=2))
    assert len(times) == 2 and all(seconds > 0 for seconds in times)


def test_what_does_not_end_is_ended(folder):
    child = Child(limit=1.0)
    call = make(folder, ENDLESS)
    with pytest.raises(KernelFault, match="ran for more than 1 seconds") as caught:
        child.time([call], [(Draw("f32", 1), Draw("f32", 1))])
    assert call.library.name in caught.value.where and caught.value.help
    # The next request finds another child.
    child.limit = 60.0
    run_turn(child, folder)
    child.close()


def test_a_crash_is_an_error_and_leaves_buffers_alone(child, folder):
    buffers = {argument.name: make_buffer(argument, {"N": 5}) for argument in TURN.arguments}
    with pytest.raises(KernelFault, match="ended their process") as caught:
        child.run(make_crash(folder), buffers)
    assert "crash.so" in caught.value.where
    assert not buffers["Y"].any()
    run_turn(child, folder)


def test_errors_of_ours_come_back_as_they_are(child, folder):
    call = make(folder, TURN, {"N": 10})
    with pytest.raises(VerifyError, match="X reaches over"):
        child.time([call], [(Draw("bf16", 1), Draw("f32", 100))])
    with pytest.raises(VerifyError, match="no buffer for X"):
        child.run(call, {})


def test_a_child_that_does_not_start_says_so(monkeypatch, folder):
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(ToolchainError, match="no process could be started") as caught:
        run_turn(Child(), folder)
    assert "status 1" in caught.value.where


def test_no_child_outlives_the_one_who_asks(folder):
    child = Child()
    run_turn(child, folder)
    process = child._process._process
    assert process.poll() is None
    del child
    assert process.poll() is not None
