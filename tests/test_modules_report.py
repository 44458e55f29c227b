"""The report on PyTorch's modules finds wrong results, gradients and crashes; the first sample of every module is right."""

import math
import os
import signal
from functools import partial

import pytest
import torch

import tcomp
from tcomp.lowerings import LOWERINGS
from tests import modules_report
from tests.module_errors import Results, Roundings, Sample, Verdict, judge
from tests.modules_report import Outcome, examine, examine_sample, find_entries, find_infos, find_samples, print_report, run

aten = torch.ops.aten
PARTS = 12
"""Parts of the modules: small enough to share among processes."""


@pytest.mark.parametrize("part", range(PARTS))
def test_first_samples(part):
    outcomes = [o for info in find_infos()[part::PARTS] for o in examine(info, 1, [torch.float32])]
    assert sum(o.refused is None for o in outcomes) >= len(outcomes) // 2
    assert [(o.name, o.way, o.fault) for o in outcomes if o.fault is not None] == []


def plant(monkeypatch, operator, other):
    monkeypatch.setitem(LOWERINGS, operator, LOWERINGS[other])


def test_wrong_values_are_found_in_both_ways(monkeypatch):
    plant(monkeypatch, aten.sigmoid.default, aten.tanh.default)
    (info,) = find_infos("nn.Sigmoid")
    outcomes = examine(info, 1, [torch.float32])
    assert {o.way for o in outcomes} == set(modules_report.WAYS)
    assert all(o.fault is not None and o.fault.startswith("forward: result 0 errs by") for o in outcomes)


def test_wrong_gradients_are_found(monkeypatch):
    plant(monkeypatch, aten.sign.default, aten.abs.default)
    (info,) = find_infos("nn.L1Loss")
    outcomes = examine(info, 1, [torch.float32], ["torch.compile"])
    assert any(o.fault is not None and o.fault.startswith("backward: ") for o in outcomes)


class DiffersWhenCompiled(torch.nn.Module):
    def forward(self, x):
        return x.sigmoid() if torch.compiler.is_compiling() else x.cos()


def test_what_torch_compile_itself_changes_is_refused_only_where_ours_is_the_same(monkeypatch):
    sample = Sample("differs", DiffersWhenCompiled, (torch.linspace(-1, 1, 8),), {})
    (outcome,) = examine_sample(sample, ["torch.compile"])
    assert outcome.fault is None and outcome.refused is not None and outcome.refused.startswith("torch.compile itself")
    plant(monkeypatch, aten.sigmoid.default, aten.tanh.default)
    (outcome,) = examine_sample(sample, ["torch.compile"])
    assert outcome.refused is None and outcome.fault is not None


def test_infinite_errors_excuse_nothing():
    """Places of infinities, and integers, that differ from eager's and from those of float64 are wrong, whatever eager's are."""
    (info,) = find_infos("nn.Sigmoid")
    sample = next(find_samples(info, torch.float32, 1))
    shape = sample.args[0].shape
    want = Results((torch.full(shape, math.inf),), (), ())
    assert judge(sample, want, want, False, run_twice) == Verdict()
    assert judge(sample, Results((torch.full(shape, math.nan),), (), ()), want, False, run_twice).fault is not None


def run_twice(sample, error=0.0):
    """The sample's module with its result off by so much."""
    return Results((sample.make()(*sample.args) + error,), (), ())


@pytest.mark.parametrize(("dtype", "unit"), [(torch.float32, 2.0**-23), (torch.float64, 2.0**-52)])
def test_both_are_measured_again_where_values_cancel(dtype, unit):
    """In 3 x - 3 near 1, eager happens to be exact, and a unit away from it errs as the result does."""

    class Cancel(torch.nn.Module):
        def forward(self, x):
            return 3 * x - 3

    x = torch.tensor([1 + 2.0**-10], dtype=dtype)
    eager = 3 * x - 3
    sample = Sample("cancel", Cancel, (x,), {})
    want = Results((eager,), (), ())
    assert judge(sample, want, want, False, run_twice) == Verdict()
    near, far = eager + unit, eager + 8 * unit
    verdict = judge(sample, Results((near,), (), ()), want, False, partial(run_twice, error=unit))
    assert verdict.fault is None and verdict.note is not None and "eager by 0; on inputs next to them by" in verdict.note
    assert judge(sample, Results((far,), (), ()), want, False, partial(run_twice, error=8 * unit)).fault is not None
    assert judge(sample, Results((far,), (), ()), want, False, partial(run_twice, error=math.nan)).fault is not None


def test_roundings_reach_inside_of_operators():
    """The derivative of a saturated softmax cancels: a unit in the last place of the gradient that comes in is what is left of it."""
    x = torch.tensor([0.0, 33.0], dtype=torch.float64, requires_grad=True)

    def differentiate():
        (found,) = torch.autograd.grad(torch.softmax(x, 0), x, torch.tensor([1.0, 7.0], dtype=torch.float64))
        return found[1]

    exact, drawn = differentiate(), []
    for seed in range(64):
        with Roundings(seed):
            drawn.append(float((differentiate() - exact).abs() / 7))
    assert 2.0**-56 < math.sqrt(sum(error**2 for error in drawn) / 64) < 2.0**-52


def test_failures_of_the_compiler_are_faults(monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("lost")

    monkeypatch.setattr(tcomp, "compile", fail)
    (info,) = find_infos("nn.Sigmoid")
    faults = [o.fault for o in examine(info, 1, [torch.float32], ["tcomp.compile"])]
    assert set(faults) == {"forward: KeyError: 'lost'"}


def test_crashes_are_faults_of_their_module(monkeypatch):
    monkeypatch.setattr(tcomp, "compile", lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
    outcomes = run("nn.Sigmoid", limit=1, dtypes=[torch.float32], ways=["tcomp.compile"])
    assert [o.fault for o in outcomes] == ["the compiler crashed (exit status -9)"]


def test_what_was_kept_is_not_examined_again(monkeypatch, tmp_path):
    keep = tmp_path / "outcomes.jsonl"
    first = run("nn.Sigmoid", 1, dtypes=[torch.float32], ways=["tcomp.compile"], keep=str(keep))
    assert len(first) == 1 and len(keep.read_text().splitlines()) == 1
    monkeypatch.setattr(tcomp, "compile", lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
    assert run("nn.Sigmoid", 1, dtypes=[torch.float32], ways=["tcomp.compile"], keep=str(keep)) == first
    both = run("nn.Sigmoid", 1, dtypes=[torch.float32], keep=str(keep))
    assert both[:1] == first and len(both) > 1


@pytest.mark.parametrize(
    ("name", "modes"), [("nn.Sigmoid", ["train"]), ("nn.BatchNorm1d", ["train", "eval"]), ("nn.Transformer", ["train", "eval"])]
)
def test_both_modes_are_tried_where_a_class_reads_them(name, modes):
    """Of the Transformer module_db says that they do not differ, though the layers inside take other paths."""
    (info,) = [info for info in modules_report.module_db if info.name == name]
    found = [sample.name.split(", ")[1].split("]")[0] for sample in modules_report.find_samples(info, torch.float32, 1)]
    assert found == modes


def test_modules_with_many_samples_are_examined_in_pieces(monkeypatch):
    """Every sample once, in the order of the samples, whatever the size of the pieces."""
    kind = {"dtypes": [torch.float32], "ways": ["tcomp.compile"]}
    whole = run("nn.Sigmoid", **kind)
    monkeypatch.setattr(modules_report, "PIECE", 3)
    assert [entry.first for entry in find_entries("nn.Sigmoid", 1000, **kind)] == [0, 3]
    assert run("nn.Sigmoid", **kind) == whole and len(whole) == 4


def test_the_report_counts(capsys):
    print_report([Outcome("nn.A[float32, eval] 0", "tcomp.compile"), Outcome("nn.A[float32, eval] 0", "torch.compile", "wrong")])
    text = capsys.readouterr().out
    assert "tcomp.compile  1 samples, 0 of them backward too: 1 right (100.00%)" in text
    assert "torch.compile  1 samples, 0 of them backward too: 0 right (0.00%)" in text
    assert "nn.A[float32, eval] 0 torch.compile: wrong" in text
