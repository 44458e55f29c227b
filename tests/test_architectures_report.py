"""The report on architectures builds small models from configurations alone, and finds wrong results, crashes and slow calls."""

import os
import signal

import pytest
import torch
from transformers import DynamicCache

import tcomp
from tcomp.lowerings import LOWERINGS
from tcomp.module.compiled_module import CompiledModule
from tests import architectures, architectures_report
from tests.architectures import NotBuilt, build, list_architectures, list_generators, make_inputs
from tests.architectures_report import (
    Entry,
    Outcome,
    call,
    examine,
    find_difference,
    find_entries,
    find_tensors,
    is_of_denormals,
    is_of_dynamo,
    print_report,
    run,
    spread,
)

aten = torch.ops.aten


def test_the_list_is_transformers_own():
    assert len(list_architectures()) >= 300
    assert {"bert", "llama", "vit", "t5", "wav2vec2", "deberta"} <= set(list_architectures())
    assert {"gpt2", "llama", "mixtral"} <= set(list_generators())


@pytest.mark.parametrize("kind", ["bert", "t5", "vit", "clip", "wav2vec2", "mixtral", "longformer", "convnext"])
def test_models_are_small_and_inputs_fit(kind):
    built = build(kind)
    assert sum(parameter.numel() for parameter in built.model.parameters()) < architectures.MOST_PARAMETERS
    assert not built.model.training
    assert list(built.inputs) in [list(inputs) for inputs in make_inputs(built.model)]


def test_what_does_not_fit_is_said():
    with pytest.raises(NotBuilt, match=r"million parameters|Error"):
        build("autoformer")


@pytest.mark.parametrize("kind", ["bert", "deberta", "opt"])
def test_architectures_in_one_program(kind):
    outcome = examine(Entry(kind, "forward"))
    assert (outcome.fault, outcome.refused, outcome.left, outcome.way) == (None, None, (), "lean")
    assert outcome.is_whole
    assert outcome.extra > 0 and outcome.first > 0 and outcome.ratio > 0


def test_architectures_through_dynamo():
    outcome = examine(Entry("flaubert", "forward"))
    assert (outcome.fault, outcome.refused, outcome.left, outcome.way) == (None, None, (), "Dynamo")
    assert "depends on the values of a tensor" in outcome.reason


def test_tokens_are_eagers():
    outcome = examine(Entry("opt", "generation"))
    assert (outcome.fault, outcome.refused) == (None, None)


def test_other_tokens_are_found(monkeypatch):
    real = architectures_report.generate
    monkeypatch.setattr(architectures_report, "generate", lambda model, prompt: real(model, prompt) + isinstance_of_compiled(model))
    assert examine(Entry("opt", "generation")).fault == "other tokens at batch 1 and 4"


def isinstance_of_compiled(model):
    return int(isinstance(model, CompiledModule))


def test_wrong_values_are_found(monkeypatch):
    monkeypatch.setitem(LOWERINGS, aten.gelu.default, LOWERINGS[aten.relu.default])
    fault = examine(Entry("bert", "forward")).fault
    assert fault is not None and "errs by" in fault


def test_what_a_model_does_otherwise_when_it_is_traced_is_not_ours():
    class Asking(torch.nn.Module):
        def forward(self, x):
            return x.sin() * (2 if torch.compiler.is_compiling() else 1)

    x = torch.randn(8)
    assert is_of_dynamo(Asking(), {"x": x}, [2 * x.sin()])
    assert not is_of_dynamo(Asking(), {"x": x}, [x.sin()])


@pytest.mark.parametrize(("scale", "expected"), [(1e-20, True), (1.0, False)])
def test_differences_of_denormal_numbers_are_told_apart(scale, expected):
    class Product(torch.nn.Module):
        def forward(self, x):
            return x * x * 0.1

    inputs = {"x": torch.full((8,), scale)}
    assert is_of_denormals(Product(), inputs, call(Product(), Product(), inputs)) == expected


def test_failures_and_crashes_of_the_compiler_are_faults(monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("lost")

    monkeypatch.setattr(tcomp, "compile", fail)
    assert examine(Entry("bert", "forward")).fault == "KeyError: 'lost'"
    monkeypatch.setattr(tcomp, "compile", lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
    assert [o.fault for o in run("^bert$", tables=["forward"])] == ["the compiler crashed (exit status -9)"]


def test_what_takes_too_long_is_a_fault(monkeypatch):
    monkeypatch.setattr(tcomp, "compile", lambda *args, **kwargs: signal.pause())
    assert [o.fault for o in run("^bert$", tables=["forward"], seconds=20)] == ["its samples took more than 20 s"]


def test_what_was_kept_is_not_examined_again(monkeypatch, tmp_path):
    keep = tmp_path / "outcomes.jsonl"
    first = run("^bert$", tables=["forward"], keep=str(keep))
    assert len(first) == 1 and len(keep.read_text().splitlines()) == 1
    monkeypatch.setattr(tcomp, "compile", lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
    assert run("^bert$", tables=["forward"], keep=str(keep)) == first


def test_missing_results_and_other_types_are_differences():
    x = torch.ones(3)
    assert find_difference([x], [x], list) is None
    assert "instead of" in find_difference([], [x], list)
    assert "instead of" in find_difference([x.double()], [x], list)
    assert "errs by" in find_difference([x * 1.1], [x], lambda: [x.double()])


def test_tensors_are_found_in_caches():
    cache = DynamicCache()
    cache.update(torch.ones(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), 0)
    assert [tuple(tensor.shape) for tensor in find_tensors({"cache": cache, "more": [torch.ones(2), 3]})] == [(1, 1, 2, 4)] * 2 + [(2,)]


def test_the_report_counts(capsys):
    good = Outcome("a", "forward", way="lean", first=1.0, extra=2048, eager_extra=4096, eager=2e-3, ours=1e-3, ratio=2.0, upper=2.1)
    slow = Outcome("b", "forward", way="Dynamo", reason="why at x", left=("aten.sort",), first=61.0, ratio=0.5, upper=0.6)
    print_report([good, slow, Outcome("c", "forward", fault="bad"), Outcome("d", "forward", refused="no")], verbose=True)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "forward: 3 architectures run in eager, of 4",
        "right 2 (66.7%)",
        "nothing in the forward pass left to PyTorch 1 (33.3%)",
        "slower than eager 1 (50.0%)",
        "first call above 60 s 1 (50.0%)",
        "1 aten.sort",
        "1 why",
        "a lean 1.0 0.0 2 KiB 4 KiB 2.00 1.00 2.00",
        "b Dynamo 61.0 0.0 0.00 0.00 0.50 slower aten.sort",
        "wrong: c (): bad",
        "not built: d: no",
    ):
        assert line in lines


def test_the_first_entries_are_of_all_kinds():
    entries = find_entries("", ["forward"])
    order = spread(entries)
    assert order == spread(entries) and set(order) == set(entries)
    assert len({entry.kind[0] for entry in order[:40]}) > 10


def test_noise_and_other_work_are_no_slowness():
    assert Outcome("a", "forward", ratio=0.5, upper=0.6, least=0.7).is_slower
    assert not Outcome("a", "forward", ratio=0.5, upper=0.6, least=1.1).is_slower
    assert not Outcome("a", "forward", ratio=0.5, upper=1.2, least=0.7).is_slower
    assert Outcome("a", "forward", first=90.0).is_long and Outcome("a", "forward", first=90.0, cpu=70.0).is_long
    assert not Outcome("a", "forward", first=90.0, cpu=20.0).is_long
