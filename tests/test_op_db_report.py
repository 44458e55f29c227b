"""The report on op_db counts what compiles, what runs in eager and what is wrong, and survives what crashes."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch

from tcomp.ir.errors import ToolchainError
from tcomp.lowerings import LOWERINGS
from tests import op_db_report
from tests.apart import run_apart
from tests.op_db_batch import Batch, Compiled, Manner, open_batch
from tests.op_db_report import Outcome, Report, find_difference, measure_exactness, print_report, run
from tests.op_db_samples import find_samples, trace

aten = torch.ops.aten


def test_a_small_run_is_all_right():
    report = run("sinh", limit=2)
    assert report.core.samples > 0
    assert (report.core.lowered, report.core.wrong, report.wrong) == (report.core.samples, 0, [])
    assert report.core.share() == 1.0
    assert report.is_good()


def test_wrong_values_are_listed(monkeypatch):
    monkeypatch.setitem(LOWERINGS, aten.sinh.default, LOWERINGS[aten.cosh.default])
    report = run("sinh", limit=1)
    assert report.core.wrong > 0
    assert any(text.startswith("sinh[float32] 0") and text.endswith("(the cascade evaluates wrong)") for text in report.wrong)
    assert not report.is_good()


def test_operators_without_a_lowering_run_in_eager_and_are_counted(monkeypatch, capsys):
    monkeypatch.delitem(LOWERINGS, aten.sinh.default)
    report = run("sinh", limit=1)
    assert report.core.lowered < report.core.samples
    assert report.core.fallback + report.core.lowered == report.core.samples
    assert report.wrong == []
    assert list(report.missing) == ["aten.sinh.default: the operator aten.sinh.default has no lowering"]
    print_report(report)
    assert "has no lowering" in capsys.readouterr().out


def test_operators_that_write_to_their_inputs_do_not_spoil_the_next_sample():
    report = run("native_batch_norm", limit=9)
    assert report.core.samples + report.beyond.samples > 9
    assert report.wrong == []


def test_results_may_be_as_far_from_float64_as_eagers():
    x = torch.tensor([3.0, 4.0])
    sample = trace("sum", lambda x: x * 2 + 1, [x])
    assert measure_exactness(sample, [x * 2 + 1]).error == 0.0
    assert measure_exactness(sample, [x * 2 + 1 + 1e-3]).error > 1e-5


def test_programs_that_are_built_at_the_same_time_are_two():
    """A prelude that was called with main's tensors, or main with the prelude's, left results unwritten, or wrote to address 0."""

    class Meeting(dict):
        together = threading.Barrier(2)

        def update(self, *args, **kwargs):
            self.together.wait(60)
            super().update(*args, **kwargs)

    with open_batch(Manner()) as batch:
        batch._kernels = Meeting()
        compiled = batch.compile(trace("doubled", lambda: torch.arange(50) * 2, []).graph)
        (stage,) = compiled.program.stages
        assert stage.prelude.path != stage.main.path
        batch.build()
        (result,) = compiled.run(())
    assert result.tolist() == list(range(0, 100, 2))


def test_batches_in_one_process_have_kernels_of_their_own():
    for factor in (2, 3):
        with open_batch(Manner()) as batch:
            compiled = batch.compile(trace("scaled", lambda x, k=factor: x * k, [torch.arange(7)]).graph)
            batch.build()
            (result,) = compiled.run((torch.arange(7),))
        assert result.tolist() == [factor * i for i in range(7)]


def test_what_the_decomposition_changes_is_not_ours():
    report = run("linspace", limit=33)
    assert report.untraced[op_db_report.DECOMPOSED] > 0
    assert report.wrong == []


def test_what_the_decomposition_changes_does_not_excuse_other_values(monkeypatch):
    monkeypatch.setattr(op_db_report, "find_samples", decompose_wrongly)
    report = run("sinh", limit=1, dtypes=[torch.float32])
    samples = len(report.outcomes)
    assert (report.untraced[op_db_report.DECOMPOSED], report.wrong) == (samples, [])
    run_compiled = Compiled.run
    monkeypatch.setattr(Compiled, "run", lambda compiled, tensors: [result + 1 for result in run_compiled(compiled, tensors)])
    report = run("sinh", limit=1, dtypes=[torch.float32])
    assert (report.untraced[op_db_report.DECOMPOSED], len(report.wrong)) == (0, samples)


def decompose_wrongly(*arguments):
    """Samples whose operator gives twice what its graph gives."""
    for sample in find_samples(*arguments):
        yield replace(sample, wanted=tuple(2 * wanted for wanted in sample.wanted))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bfloat16])
def test_which_of_equal_elements_indices_name_is_open(dtype):
    x = torch.tensor([[1, 3, 3, 2], [5, 5, 0, 5]], dtype=dtype)
    sample = trace("topk", lambda x: torch.topk(x, 2), [x])
    values = torch.tensor([[3, 3], [5, 5]], dtype=dtype)
    for indices in ([[1, 2], [0, 1]], [[2, 1], [3, 0]]):
        assert find_difference(sample, [values, torch.tensor(indices)]) is None
    for indices in ([[1, 2], [0, 2]], [[1, 1], [0, 1]], [[1, 3], [0, 1]]):
        assert find_difference(sample, [values, torch.tensor(indices)]) is not None
    assert find_difference(sample, [values - 1, torch.tensor([[1, 2], [0, 1]])]) is not None


def test_the_kth_of_equal_elements_is_open_in_any_dimension():
    x = torch.tensor([[1, 3, 3], [1, 2, 3]])
    sample = trace("kthvalue", lambda x: torch.kthvalue(x, 1, 0), [x])
    values = torch.tensor([1, 2, 3])
    assert all(find_difference(sample, [values, torch.tensor(indices)]) is None for indices in ([0, 1, 0], [1, 1, 1]))
    assert find_difference(sample, [values, torch.tensor([0, 0, 0])]) is not None


def test_zeros_without_memory_are_compared():
    x = torch.tensor([1.0, -2.0])
    sample = trace("sgn", lambda x: torch.func.vjp(torch.sgn, x)[1](torch.ones(2)), [x])
    assert sample.wanted[0]._is_zerotensor()
    assert find_difference(sample, sample.wanted) is None
    assert find_difference(sample, [torch.zeros(2)]) is None
    assert find_difference(sample, [torch.ones(2)]) is not None


def test_a_lowering_that_fails_is_listed(monkeypatch):
    monkeypatch.setitem(LOWERINGS, aten.sinh.default, lambda build, x: x.nothing)
    report = run("sinh", limit=1)
    assert any("lowering failed with AttributeError" in text for text in report.wrong)


def test_a_crash_is_a_fault_of_its_sample_alone(monkeypatch):
    run_compiled = Compiled.run

    def crash(compiled, tensors):
        if tensors[0].dtype == torch.int64:
            os.kill(os.getpid(), signal.SIGKILL)
        return run_compiled(compiled, tensors)

    monkeypatch.setattr(Compiled, "run", crash)
    report = run("sinh", limit=1)
    assert report.core.wrong > 0
    assert all("int64" in text and "crashed" in text for text in report.wrong)


def test_a_crash_of_the_compiler_is_a_fault_of_its_entry(monkeypatch):
    monkeypatch.setattr(Batch, "compile", lambda batch, graph: os.kill(os.getpid(), signal.SIGKILL))
    assert "sinh: the compiler crashed (exit status -9)" in run("sinh", limit=1).wrong


def test_a_batch_that_does_not_build_is_built_one_by_one(monkeypatch):
    build = Batch.build

    def fail(batch):
        if len(batch._drivers) > 1:
            raise ToolchainError("too many at once")
        build(batch)

    monkeypatch.setattr(Batch, "build", fail)
    assert run("sinh", limit=1).is_good()


def test_what_hangs_is_ended():
    answers = run_apart([lambda: "first", lambda: time.sleep(60), lambda: "last"], seconds=0.5)
    assert answers == ["first", "it ran for more than 0.5 s", "last"]


def test_interrupted_runs_keep_what_they_have(monkeypatch, capsys):
    def interrupted(entries, name_of, work, jobs, seconds):
        yield "sinh", [Outcome("sinh[float32] 0")]
        raise KeyboardInterrupt

    monkeypatch.setattr(op_db_report, "run_entries", interrupted)
    report = run("sinh")
    assert report.core.samples == 1
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(("lowered", "wrong", "is_good"), [(97, 0, True), (96, 0, False), (100, 1, False)])
def test_what_is_good(lowered, wrong, is_good):
    report = Report()
    for number in range(100):
        report.add(
            Outcome(str(number), missing=() if number < lowered else ("aten.x",), fault="wrong" if number < wrong else None)
        )
    assert report.is_good() == is_good
