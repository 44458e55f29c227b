"""What a call takes at its peak: measured, and foretold of eager without computing anything."""

import pytest
import torch
from compiled import Function, make_linear, random
from torch import nn
from torch.nn import functional

import tcomp
from tcomp.module.summary import format_bytes
from tcomp.runtime.peak_memory import estimate_eager_extra, measure_extra
from tcomp.zoo import build

KIB = 1024


def in_place(x):
    y = x + 1
    return y.mul_(2).t().exp().t()[1:]


CASES = {
    "one intermediate": (lambda x: x.exp().log(), 64),
    "two at once": (lambda x: (x.exp() * x.sin()).log(), 128),
    "nothing": (lambda x: x + 1, 0),
    "a view of the argument": (lambda x: x.t()[1:], 0),
    "in place, and what is returned holds more than it shows": (in_place, 64),
    "several results, one of them a view of another": (lambda x: (x * 2, (y := x.exp()), y[1:]), 0),
    "freed before the peak": (lambda x: x.exp().sum() + (x.sin() + x.cos()), 128),
    "a weight is read transposed": (nn.Linear(128, 128), 0),
    "attention": (lambda x: functional.softmax(x @ x.t(), -1) @ x, None),
}


def measure(module, x):
    with torch.no_grad():
        module(x)
        return measure_extra(module, (x,))


@pytest.mark.parametrize("name", CASES)
def test_what_is_foretold_of_eager_is_what_is_measured(name):
    function, kib = CASES[name]
    module, x = function if isinstance(function, nn.Module) else Function(function), random(128, 128)
    measured = measure(module, x)
    assert kib is None or measured // KIB == kib
    compiled = tcomp.compile(module, (x,), dynamic=False)
    assert estimate_eager_extra(module, compiled.programs[0]) // KIB == measured // KIB
    assert compiled.estimate_eager_memory() // KIB == measured // KIB


def test_what_operators_use_inside_is_measured_and_not_foretold():
    module, x = nn.BatchNorm1d(128).eval(), random(128, 128)
    assert measure(module, x) == KIB
    assert tcomp.compile(module, (x,), dynamic=False).estimate_eager_memory() == 0


@pytest.mark.parametrize("name", ["mlp", "bert", "mamba"])
def test_so_it_is_for_whole_models(name):
    module, inputs = build(name, size="small")
    with torch.no_grad():
        module(*inputs)
        assert tcomp.compile(module, inputs).estimate_eager_memory() == measure_extra(module, inputs)


def test_nothing_is_computed_or_written():
    module = nn.BatchNorm1d(128).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tcomp.compile(module, (random(128, 128),), dynamic=False).estimate_eager_memory()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_sizes_that_are_symbols_or_data_are_told():
    compiled = tcomp.compile(make_linear(), (random(4, 8),), dynamic=True)
    with pytest.raises(tcomp.Unsupported, match="the sizes of inputs are symbols"):
        compiled.estimate_eager_memory()
    assert "eager unknown, since the sizes of inputs are symbols\n" in tcomp.explain(compiled)
    module = Function(lambda x: x + 1)
    compiled = tcomp.compile(module, (random(4, 8),), dynamic=False)
    module.function = lambda x: x[x > 0]
    with pytest.raises(tcomp.Unsupported, match="eager cannot be followed without data"):
        compiled.estimate_eager_memory()


def test_the_explanation_shows_both():
    x = random(128, 128)
    compiled = tcomp.compile(Function(lambda x: (x.exp() @ x).softmax(-1) @ x), (x,))
    eager = measure(compiled.original, x)
    extra = compiled.memory.extra
    line = f"extra     {format_bytes(extra)} at its peak beyond inputs, weights and results; eager {format_bytes(eager)}"
    assert line in tcomp.explain(compiled).splitlines()
    assert measure(compiled, x) == 0 < extra


def test_what_stages_hand_on_and_copies_of_results_count():
    module = Function(lambda x: torch.linalg.matrix_exp(x.exp() * 2).sin())
    compiled = tcomp.compile(module, (random(16, 16),), fallback="silent", dynamic=False)
    assert compiled.memory.between == 16 * 16 * 4
    assert tcomp.compile(make_linear(), (random(4, 8),)).memory.between == 0
