"""Kernels that are timed to choose among them: equal ones once, and what cannot run takes forever."""

import math

import pytest
from c_programs import find_compiler

from tcomp.codegen.c import measure as module
from tcomp.codegen.c.child import Child
from tcomp.codegen.c.measure import Measurer
from tcomp.codegen.timing import Timing
from tcomp.ir.errors import KernelFault, ToolchainError
from tcomp.ir.parse.tile import parse_kernel

SCALE = """kernel scale(in X: f32[8, N], in I: i64[8], out Y: f32[8, N]) for N in 1..100 {
  parallel i in 0 .. N { Y[i.0, i] over (i.0:8) = X[value(I[i.0]), i] * 2.0 } }"""
# Four billion steps of four billion, each waiting for the last.
ENDLESS = """kernel endless(in X: f32[1], out Y: f32[1]) {
  for i in 0 .. 4000000000 { for j in 0 .. 4000000000 { Y[0] over () = sin(Y[0] + X[0]) } } }"""
COPY = "kernel copy(in X: f32[1], out Y: f32[1]) { Y[0] over () = X[0] }"


class Clock:
    """A child that takes as long as the test says, and does not survive calls of more arguments than it may."""

    def __init__(self, *seconds, most=9):
        self.seconds = list(seconds)
        self.most = most
        self.asked = []

    def time(self, calls, draws, timing):
        self.asked.append((calls, draws))
        if max(len(drawn) for drawn in draws) > self.most:
            raise KernelFault("it crashed")
        return [self.seconds.pop(0) for _ in calls]


def make(folder, child, **options):
    return Measurer(
        find_compiler(), folder, threads=2, flush_denormals=True, size=128, report=options.pop("report", print), child=child, **options
    )


def trials(*texts):
    return [(parse_kernel(text), None) for text in texts]


def test_equal_kernels_are_measured_once(tmp_path):
    clock, told = Clock(0.5, 0.25, 0.75), []
    measure = make(tmp_path, clock, report=lambda *what: told.append(what))
    assert measure(trials(SCALE, SCALE.replace("2.0", "3.0"), SCALE.replace("kernel scale", "kernel other"))) == [0.5, 0.25, 0.5]
    assert measure(trials(SCALE)) == [0.5]
    assert measure(trials(COPY, SCALE)) == [0.75, 0.5]
    assert [len(calls) for calls, _ in clock.asked] == [2, 1]
    assert told == [("measured scale", 2, 2), ("measured copy", 3, 3)]


def test_kernels_are_called_as_programs_are_with_sizes_in_their_ranges(tmp_path):
    clock = Clock(0.5)
    make(tmp_path, clock)(trials(SCALE))
    (((call,), (draws,)),) = clock.asked
    assert (call.symbols, call.threads, call.flush_denormals) == ((100,), 2, True)
    assert [(draw.dtype, draw.elements) for draw in draws] == [("f32", 800), ("i64", 8), ("f32", 800)]


def test_one_that_ends_the_child_takes_forever_and_the_others_their_time(tmp_path):
    clock = Clock(0.5, 0.25, most=2)
    measure = make(tmp_path, clock)
    assert measure(trials(COPY, SCALE, COPY.replace("= X[0]", "= X[0] * 2.0"))) == [0.5, math.inf, 0.25]
    assert [len(calls) for calls, _ in clock.asked] == [3, 1, 1, 1]


def test_one_that_the_compiler_refuses_takes_forever(tmp_path, monkeypatch):
    build = module.build_program

    def refuse(plan, kernels, **options):
        if "X[0] * 2.0" in str(*kernels.values()):
            raise ToolchainError("the C compiler failed")
        return build(plan, kernels, **options)

    monkeypatch.setattr(module, "build_program", refuse)
    doubled = COPY.replace("= X[0]", "= X[0] * 2.0")
    assert make(tmp_path, Clock(0.5))(trials(doubled, COPY)) == [math.inf, 0.5]
    assert make(tmp_path, Clock())(trials(doubled)) == [math.inf]


def test_a_folder_that_cannot_be_used_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="works without its cache"):
        assert make(tmp_path / "file", Clock(0.5))(trials(COPY)) == [0.5]


def test_kernels_are_timed_here_and_those_without_end_ended(tmp_path):
    child = Child(limit=2.0)
    measure = make(tmp_path, child, timing=Timing(warmups=1, repeats=2))
    first, endless, second = measure(trials(COPY, ENDLESS, SCALE))
    assert endless == math.inf
    assert 0 < first < math.inf and 0 < second < math.inf
    child.close()
