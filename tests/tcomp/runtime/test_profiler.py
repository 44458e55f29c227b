"""PyTorch's profiler shows kernels by name; without it nothing is different."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import tcomp
from tcomp.codegen.c.build import load_parts
from tcomp.program.reports import list_steps
from tests.compiled import make_linear, random


def profile_names(call):
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        result = call()
    return [event.name for event in profiled.events() if event.name.startswith("tcomp::")], result


def test_every_kernel_is_a_range_that_tells_its_module():
    module = nn.Sequential(make_linear(), nn.Softmax(-1), nn.Linear(8, 8)).requires_grad_(False)
    compiled, x = tcomp.compile(module, random(4, 8)), random(4, 8)
    names, result = profile_names(lambda: compiled(x))
    (report,) = compiled.reports
    assert names == list(list_steps(report))
    assert len(names) > 1
    assert {name.partition(" ")[0] for name in names} == {f"tcomp::{k.name}" for k in compiled.kernels if not k.is_prelude}
    assert any("(0.0" in name for name in names) and any("(2" in name for name in names)
    assert torch.equal(result, compiled(x))


def test_an_index_outside_is_reported_while_one_profiles():
    compiled = tcomp.compile(nn.Embedding(4, 2).requires_grad_(False), torch.tensor([1]))
    with pytest.raises(IndexError):
        profile_names(lambda: compiled(torch.tensor([7])))


def test_kernels_run_in_one_call_without_a_profiler(monkeypatch):
    compiled, x = tcomp.compile(make_linear(), random(4, 8)), random(4, 8)
    monkeypatch.setattr("tcomp.runtime.runners.CompiledRunner._run_named", None)
    compiled(x)
    with pytest.raises(TypeError):
        profile_names(lambda: compiled(x))


def test_programs_that_check_their_kernels_run_whole(monkeypatch):
    monkeypatch.setenv("TCOMP_CHECK_KERNELS", "1")
    compiled, x = tcomp.compile(make_linear(), random(4, 8)), random(4, 8)
    assert load_parts(compiled.programs[0].stages[0].main.path) is None
    assert profile_names(lambda: compiled(x))[0] == []
