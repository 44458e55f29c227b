"""The cases that are checked on a GPU: in Triton's interpreter where they are small, and what finds them wrong."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tcomp.machine.gpus import find_triton_version
from tests.compiled import Function
from tests.gpu.benchmarks import ATTENTIONS, OTHERS, PRODUCTS, STREAMS
from tests.gpu.case import build_case
from tests.gpu.cases import CASES
from tests.gpu.check import Bed, describe_difference, find_form_fault, judge
from tests.gpu.contest import count_bytes
from tests.gpu.results import Skip
from tests.gpu.rows import BENCHMARKS, CHECKS, MEASUREMENTS, Rows, check_case, find_model, list_labels
from tests.gpu.scenarios import SCENARIOS
from tests.gpu.worker import Task

INTERPRETER = Bed(torch.device("cpu"), {"backend": "triton", "interpret": True}, is_small=True)
COMPILED = Bed(torch.device("cpu"), is_small=True)
"""Kernels in C, for what is about the checks themselves."""

FAST = (
    "maps/arithmetic", "maps/integers", "broadcast/row-and-column", "move/transpose", "dtype/floats", "where/masks",
    "reduce/sum-rows", "reduce/argmax", "reduce/var-mean", "softmax/rows", "norm/layer-odd", "loss/cross-entropy",
    "matmul/f32", "matmul/bf16-odd", "matmul/bias-gelu", "matmul/batched", "conv/3x3", "pool/max", "attention/full",
    "gather/embedding", "scatter/index-add", "scatter/index-add-atomic", "scan/sum-rows", "sort/top-k",
)  # fmt: skip
"""One or two of each family."""
QUICK = ("sizes/symbolic-softmax", "faults/bad-index", "calls/threads", "weights/changed", "training/mlp")


needs_triton = pytest.mark.skipif(find_triton_version() is None, reason="needs Triton")


def find(table, name):
    return next(entry for entry in table if entry.name == name)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@needs_triton
@pytest.mark.parametrize("name", FAST)
def test_interpreted_kernels_are_right(name):
    row = check_case(INTERPRETER, find(CASES, name), Task({}, lambda peer, row: None))
    assert row.status == "right", row
    assert row.kernels


@needs_triton
@pytest.mark.parametrize("name", QUICK)
def test_interpreted_programs_behave(name):
    find(SCENARIOS, name).run(INTERPRETER)


def test_every_case_has_a_name_of_its_own_and_runs_in_eager():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    families = {case.family for case in CASES}
    assert {case.family for case in CASES if case.name in FAST} >= families - {"resample"}
    for case in CASES:
        module, inputs = build_case(case, small=True)
        again, same = build_case(case, small=True)
        with torch.no_grad():
            torch.testing.assert_close(again(*copy.deepcopy(same)), module(*inputs), rtol=0, atol=0, equal_nan=True)


def test_every_row_is_in_a_section_and_in_the_table():
    labels = list_labels(interpret=False)
    assert set(labels) == {section.name for section in (*CHECKS, *MEASUREMENTS)}
    assert set(list_labels(interpret=True)) == {section.name for section in CHECKS}
    listed = [label for section in labels.values() for label in section]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(Rows(COMPILED).rows)


def test_a_run_that_is_cut_off_early_has_seen_every_family():
    families = {case.family for case in CASES}
    seen = [label.split("/")[1] for label in list_labels(interpret=True)["kernels"]]
    assert set(seen[: len(families)]) == families


@pytest.mark.parametrize("benchmark", (*PRODUCTS, *STREAMS, *ATTENTIONS, *OTHERS), ids=lambda benchmark: benchmark.name)
def test_benchmarks_compute_something(benchmark):
    torch.manual_seed(0)
    module, inputs = benchmark.make(lambda full, small: small)
    with torch.no_grad():
        result = module(*inputs)
    assert all(part.isfinite().all() for part in (result if isinstance(result, tuple) else (result,)))
    assert count_bytes(inputs)
    if benchmark.count_operations:
        assert benchmark.count_operations(*inputs) > 0


def test_operations_are_counted_of_full_sizes():
    benchmark = find(PRODUCTS, "bf16-batch")
    inputs = torch.empty(64, 512, 512, device="meta"), torch.empty(64, 512, 512, device="meta")
    assert benchmark.count_operations(*inputs) == 2 * 64 * 512**3
    causal = find(ATTENTIONS, "bf16-causal-4096")
    shape = torch.empty(2, 16, 4096, 128, device="meta")
    assert causal.count_operations(shape, shape, shape) == 2 * 2 * 16 * 4096**2 * 128
    assert all("tuned" in benchmark.peers for benchmark in BENCHMARKS["tuned"])


class Spoiled:
    """A compiled module that is wrong, as asked."""

    kernels = ()

    def __init__(self, module, spoil):
        self.module, self.spoil, self.calls = module, spoil, 0

    def __call__(self, *inputs):
        self.calls += 1
        return self.spoil(self.module(*inputs), self.calls)


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (lambda y, calls: y + (calls == 2) * 1e-3, "8 of 8 elements"),
        (lambda y, calls: torch.where(torch.arange(8) == 5, 7.0, y), "result 0[5]: 7, not"),
        (lambda y, calls: torch.where(torch.arange(8) == 5, torch.nan, y), "result 0[5]: nan, not"),
        (lambda y, calls: y.double(), "dtype torch.float64"),
        (lambda y, calls: y[:4], "shape torch.Size([4])"),
        (lambda y, calls: torch.stack([y, y], 1)[:, 0], "strides (2,)"),
        (lambda y, calls: (y, y), "2 results, not 1"),
    ],
)
def test_planted_faults_are_found(spoil, detail):
    module, inputs = Function(lambda x: x * 2), (torch.linspace(1, 2, 8),)
    verdict = COMPILED.check(Spoiled(module, spoil), module, inputs)
    assert not verdict.is_right
    assert detail in verdict.detail
    assert COMPILED.check(Spoiled(module, lambda y, calls: y), module, inputs).is_right


def test_exact_results_may_not_differ_by_a_bit():
    x = torch.linspace(1, 2, 8)
    assert judge([x], [x], [x], "exact").is_right
    near = torch.nextafter(x, x + 1)
    assert not judge([near], [x], [x], "exact").is_right
    assert judge([near], [x], [x]).is_right
    assert judge([x * torch.nan], [x * torch.nan], [x * torch.nan], "exact").is_right


def test_a_wrong_sum_of_narrow_numbers_is_found():
    """Rounded to bf16 at every step, a sum is farther off than eager's: near 512, it stays at 256 where a half is too little to add."""
    x = torch.rand(1024).bfloat16()
    total = torch.zeros((), dtype=torch.bfloat16)
    for part in x:
        total = total + part
    assert not judge([total], [x.sum()], [x.double().sum()]).is_right


def test_differences_are_told_by_place():
    assert describe_difference([torch.ones(3)], [torch.ones(3)]) == ""
    assert "result 1[0, 2]: 5, not 1; 1 of 6" in describe_difference(
        [torch.ones(3), torch.tensor([[1.0, 1, 5], [1, 1, 1.5]])], [torch.ones(3), torch.ones(2, 3)]
    )
    assert find_form_fault([torch.ones(3)], []) == "1 results, not 0"


def test_models_are_left_out_where_transformers_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Skip, match="transformers"):
        find_model(COMPILED, "bert", torch.float32, small=True)
    module, (x,) = find_model(COMPILED, "mlp", torch.bfloat16, small=True)
    assert x.dtype == torch.bfloat16 and not any(parameter.requires_grad for parameter in module.parameters())


def test_moved_tensors_keep_strides_and_misalignment():
    x = torch.randn(10, 4)[1:, ::2]
    moved = COMPILED.move(x)
    assert torch.equal(moved, x) and moved.stride() == x.stride() and moved.storage_offset() == x.storage_offset()
    assert moved.data_ptr() != x.data_ptr()
    module = COMPILED.move(nn.Linear(2, 2))
    assert isinstance(module, nn.Linear)
