"""Random operators draw what eager draws from the same seed, and leave the same state behind, in both ways of compiling."""

import pytest
import torch
from compiled import Function, check_same, random
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map

import tcomp
from tcomp.lowerings import LOWERINGS

DRAWING = {
    "rand": lambda x: torch.rand(4, 8) + x.exp(),
    "randn": lambda x: torch.randn(x.shape) * x,
    "rand_like": lambda x: torch.rand_like(x) + x,
    "randint": lambda x: torch.randint(0, 10, (4,)) + x[:, 0],
    "randperm": lambda x: x[torch.randperm(4)] * 2,
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()) * x,
    "multinomial": lambda x: torch.multinomial(x.exp(), 3) + 1,
    "normal_": lambda x: torch.empty(4, 8).normal_() * x,
    "uniform_": lambda x: torch.empty(4, 8).uniform_(-1, 1) + x,
    "dropout": lambda x: functional.dropout(x.exp(), 0.3, True) * 2,
    "dropout of a transposed tensor": lambda x: functional.dropout(x.exp().t(), 0.3, True) * 2,
    "feature dropout": lambda x: functional.dropout2d(x[None], 0.5, True).sin(),
    "alpha dropout": lambda x: functional.alpha_dropout(x, 0.5, True).sin(),
    "gumbel": lambda x: functional.gumbel_softmax(x),
    "leaks": lambda x: functional.rrelu(x, training=True),
    "attention": lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.3),
    "several in order": lambda x: (torch.rand(3) + torch.randn(3), functional.dropout(x, 0.5, True), torch.rand(2)),
}


def call(run, x):
    """Results from two seeds, each with the state of the generator afterwards."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            found.append((tree_map(torch.clone, run(x)), torch.get_rng_state()))
    return found


@pytest.mark.parametrize("name", DRAWING)
@pytest.mark.parametrize("way", ["tcomp.compile", "torch.compile"])
def test_the_same_numbers_are_drawn(name, way):
    torch._dynamo.reset()
    module, x = Function(DRAWING[name]), random(4, 8)
    options = {"fallback": "silent"}
    compiled = tcomp.compile(module, (x,), **options) if way == "tcomp.compile" else torch.compile(module, backend="tcomp", options=options)
    check_same(call(compiled, x), call(module, x))


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.zeros(8, 8)[::2].t().bernoulli_(0.3) * x.t(),
        lambda x: torch.empty(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).bernoulli_(0.3) * x[:, :4],
    ],
)
def test_numbers_are_drawn_in_the_order_of_memory(draw):
    # torch.compile itself draws in the order of indices here.
    module, x = Function(draw), random(4, 8)
    check_same(call(tcomp.compile(module, (x,), fallback="silent"), x), call(module, x))


def test_other_numbers_are_seen(monkeypatch):
    module, x = Function(lambda x: torch.rand_like(x) + x), random(4, 8)
    monkeypatch.setitem(LOWERINGS, torch.ops.aten.rand_like.default, LOWERINGS[torch.ops.aten.zeros_like.default])
    compiled = tcomp.compile(module, (x,), fallback="silent")
    with pytest.raises(AssertionError):
        check_same(call(compiled, x), call(module, x))


@pytest.mark.parametrize("wants_gradients", [False, True])
def test_modules_with_dropout_in_training(wants_gradients):
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2), nn.ReLU()).train()
    compiled = tcomp.compile(module, fallback="silent")
    found = []
    for run in (compiled, module):
        torch.manual_seed(0)
        with torch.set_grad_enabled(wants_gradients):
            result = run(random(4, 8))
        if wants_gradients:
            result.sum().backward()
        found.append([result.detach(), *([p.grad.clone() for p in module.parameters()] if wants_gradients else [])])
        module.zero_grad()
    check_same(*found)
