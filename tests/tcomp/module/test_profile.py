"""f.profile: a row for each step of a call, with the work of the sizes of that call."""

import pytest
import torch
from torch import nn

import tcomp
from tcomp.codegen.c.roofline import Rate, Roofline
from tcomp.ir.errors import ToolchainError, Unsupported
from tcomp.program.reports import list_steps
from tcomp.progress import watch_progress
from tests.compiled import Function, make_linear, random

MACHINE = Roofline(2, (("f32", 100e9), ("f64", 50e9)), (Rate(1 << 14, 400e9, 300e9), Rate(1 << 27, 20e9, 15e9)))


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine that is known; notes with how many threads one asked for it."""
    asked = []

    def find(toolchain, target, folder, threads, *, again):
        asked.append((threads, again))
        return MACHINE

    monkeypatch.setattr("tcomp.profiling.measure.find_roofline", find)
    return asked


def test_every_kernel_of_a_call_has_a_row():
    module = nn.Sequential(make_linear(), nn.Softmax(-1), nn.Linear(8, 8)).requires_grad_(False)
    compiled, x = tcomp.compile(module, random(4, 8)), random(4, 8)
    before = compiled(x)
    profile = compiled.profile(x, rounds=3)
    (report,) = compiled.reports
    assert [f"tcomp::{row.name}" for row in profile.rows] == [name.partition(" ")[0] for name in list_steps(report)]
    assert (profile.module, profile.inputs, profile.rounds) == ("Sequential", "float32[4, 8]", 3)
    assert all(0 < row.seconds.low <= row.seconds.median <= row.seconds.high for row in profile.rows)
    assert all(row.bound.seconds > 0 and row.bytes > 0 and row.is_kernel for row in profile.rows)
    # Two products of 4 x 8 x 8 with a bias each, a ReLU, and a softmax.
    assert profile.operations == 2 * (2 * 4 * 8 * 8 + 4 * 8) + 4 * 8 + 5 * 4 * 8
    assert torch.equal(compiled(x), before)
    assert "Sequential(float32[4, 8])" in str(profile)


def test_calls_of_one_kernel_are_told_apart():
    layer = nn.Linear(8, 8).requires_grad_(False)
    compiled, x = tcomp.compile(nn.Sequential(layer, layer, layer), random(4, 8)), random(4, 8)
    rows = compiled.profile(x, rounds=1).rows
    assert len(rows) == 3 and len({row.computes for row in rows}) == 3
    # The weights were touched by the first, so that they are near for the others.
    assert rows[0].bound.memory >= rows[1].bound.memory


def test_symbolic_sizes_count_as_they_are_in_the_call():
    compiled = tcomp.compile(make_linear(), random(4, 8), dynamic=True)
    few, many = compiled.profile(random(4, 8), rounds=1), compiled.profile(random(40, 8), rounds=1)
    assert len(compiled.programs) == 1
    assert many.operations == 10 * few.operations
    assert few.bytes < many.bytes < 10 * few.bytes


def test_operators_left_to_pytorch_have_their_time_alone():
    module = Function(lambda x: torch.linalg.svdvals(x + 1) * 2)
    compiled = tcomp.compile(module, random(6, 6), fallback="silent")
    profile = compiled.profile(random(6, 6), rounds=2)
    left = [row for row in profile.rows if not row.is_kernel]
    assert "svd" in left[0].name and left[0].seconds.median > 0 and "no lowering" in left[0].computes
    assert {row.computes for row in left[1:]} == {"goes with another operator"}
    assert {(row.operations, row.bytes, row.bound) for row in left} == {(None, None, None)}
    assert [row.step for row in profile.rows] == [*range(1, len(profile.rows) + 1)]
    assert profile.rows[0].is_kernel and profile.rows[-1].is_kernel


def test_threads_are_those_that_find_work(machine):
    compiled = tcomp.compile(make_linear(), random(4, 8), threads=1)
    assert compiled.profile(random(4, 8), rounds=1, again=True).threads == 1
    assert machine == [(1, True)]


def test_a_saved_program_can_be_profiled(tmp_path):
    module, x = make_linear(), random(4, 8)
    compiled = tcomp.compile(module, x)
    compiled.save(tmp_path / "linear.tcomp")
    loaded = tcomp.load(tmp_path / "linear.tcomp", module)
    rows, again = compiled.profile(x, rounds=1).rows, loaded.profile(x, rounds=1).rows
    assert [(r.name, r.computes, r.operations, r.bytes, r.bound) for r in rows] == [
        (r.name, r.computes, r.operations, r.bytes, r.bound) for r in again
    ]


def test_saved_programs_keep_work_over_symbols(tmp_path):
    module = make_linear()
    compiled = tcomp.compile(module, random(4, 8), dynamic=True)
    compiled.save(tmp_path / "linear.tcomp")
    loaded = tcomp.load(tmp_path / "linear.tcomp", module)
    assert [kernel.work for kernel in loaded.kernels] == [kernel.work for kernel in compiled.kernels]
    assert loaded.reports == compiled.reports


def test_where_the_machine_cannot_be_measured_times_are_told(monkeypatch):
    def fail(*arguments, **named):
        raise ToolchainError("no C compiler was found")

    compiled = tcomp.compile(make_linear(), random(4, 8))
    monkeypatch.setattr("tcomp.profiling.measure.find_machine", fail)
    profile = compiled.profile(random(4, 8), rounds=1)
    assert profile.roofline is None and profile.rows[0].bound is None and profile.rows[0].operations
    assert "no C compiler was found" in str(profile)


def test_progress_is_told():
    compiled, told = tcomp.compile(make_linear(), random(4, 8)), []
    with watch_progress(lambda *step: told.append(step)):
        compiled.profile(random(4, 8), rounds=3)
    assert [step for step in told if step[0] == "timing"][-1] == ("timing", 5, 5)


def test_what_the_module_changes_it_changes_as_often_as_it_is_called():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count += 1
            return x * self.count

    compiled = tcomp.compile(Counter(), random(3))
    compiled.profile(random(3), rounds=4)
    assert compiled.count == 6  # two rounds to warm up; calls step by step write nothing


def test_inputs_that_no_program_serves_are_refused():
    compiled = tcomp.compile(Function(lambda x: x * 2 if x.sum() > 0 else x), fallback="silent")
    with pytest.raises(Unsupported, match="no program serves these inputs"):
        compiled.profile(random(3))
    hooked = tcomp.compile(make_linear(), random(4, 8))
    hooked.original.register_forward_hook(lambda *given: None)
    with pytest.raises(Unsupported, match="the module has hooks"):
        hooked.profile(random(4, 8))


def test_programs_that_check_their_kernels_are_refused(monkeypatch):
    monkeypatch.setenv("TCOMP_CHECK_KERNELS", "1")
    compiled = tcomp.compile(make_linear(), random(4, 8))
    with pytest.raises(Unsupported, match="check their kernels"):
        compiled.profile(random(4, 8))


def test_kernels_of_triton_are_refused():
    pytest.importorskip("triton")
    compiled = tcomp.compile(make_linear(), random(4, 8), backend="triton", interpret=True)
    with pytest.raises(Unsupported, match="not timed one by one"):
        compiled.profile(random(4, 8))


def test_an_index_outside_is_reported():
    compiled = tcomp.compile(nn.Embedding(4, 2).requires_grad_(False), torch.tensor([1]))
    with pytest.raises(IndexError):
        compiled.profile(torch.tensor([7]))
