"""tune=True on a CPU: what was measured to be fastest is what runs, and it computes the same."""

import pytest
import torch
from compiled import Function, check_same, make_linear, random
from measures import by_hash

import tcomp
from tcomp.codegen.c.measure import Measurer
from tcomp.options import make_options
from tcomp.settings import override_environment, read_settings
from tcomp.stages import makers
from tcomp.stages.makers import CMaker


def attention(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2), -1) @ v


MODULES = {
    "a layer": lambda: (make_linear(), (random(37, 8),)),
    "a convolution": lambda: (torch.nn.Conv2d(3, 20, 3, padding=1).requires_grad_(False), (random(2, 3, 9, 11),)),
    "attention": lambda: (Function(attention), tuple(random(2, 40, 16, seed=seed) for seed in range(3))),
    "norms and sums": lambda: (Function(lambda x: torch.layer_norm(x, (50,)).sum(0).cumsum(0)), (random(30, 50),)),
    "a recurrent network": lambda: (torch.nn.GRU(8, 20).requires_grad_(False), (random(6, 2, 8),)),
    "a scatter": lambda: (
        Function(lambda x, i: torch.zeros(5, 40).index_add(0, i, x)),
        (random(9, 40), torch.tensor([0, 4, 1, 1, 3, 2, 0, 4, 4])),
    ),
}


@pytest.mark.parametrize("case", MODULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_measured_to_be_fastest_computes_the_same(monkeypatch, case, seed):
    monkeypatch.setattr(makers, "find_c_measure", lambda *arguments: by_hash(seed))
    torch.manual_seed(0)
    module, inputs = MODULES[case]()
    compiled = tcomp.compile(module, inputs, fallback="error")
    check_same(compiled(*inputs), module(*inputs))


@pytest.mark.parametrize("number", [0, 1, 3])
def test_the_fastest_is_what_runs(monkeypatch, number):
    asked = []

    def measure(trials):
        asked.extend(kernel.notes for kernel, _ in trials)
        return [float(place != number) for place in range(len(trials))]

    monkeypatch.setattr(makers, "find_c_measure", lambda *arguments: measure)
    module, inputs = Function(lambda x, w: x @ w), (random(48, 32), random(32, 64, seed=1))
    compiled = tcomp.compile(module, inputs)
    (kernel,) = compiled.kernels
    assert len(set(asked)) == len(asked) > 3
    assert all(note in kernel.source for note in asked[number])
    check_same(compiled(*inputs), module(*inputs))


def test_a_module_is_tuned_on_this_machine(tmp_path):
    module, inputs = make_linear(), (random(37, 8),)
    with override_environment({"TCOMP_CACHE_DIR": str(tmp_path)}):
        compiled = tcomp.compile(module, inputs, tune=True, fallback="error")
        check_same(compiled(*inputs), module(*inputs))


def test_sizes_that_are_symbols_are_tuned_for_as_well():
    module = make_linear()
    compiled = tcomp.compile(module, (random(37, 8),), tune=True, dynamic=True, fallback="error")
    for rows in (2, 37, 150):
        check_same(compiled(random(rows, 8)), module(random(rows, 8)))


def test_kernels_are_measured_on_as_many_threads_as_they_will_use():
    measure = CMaker(make_options({"tune": True, "threads": 3, "numerics": "strict"}), read_settings()).measure
    assert isinstance(measure, Measurer)
    assert (measure._threads, measure._flush_denormals) == (3, False)
    measure = CMaker(make_options({"tune": True}), read_settings()).measure
    assert (measure._threads, measure._flush_denormals) == (torch.get_num_threads(), True)
    assert CMaker(make_options({}), read_settings()).measure is None
