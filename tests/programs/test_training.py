"""Modules train compiled as they train in eager: losses, gradients, parameters and buffers."""

import copy
import warnings
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tcomp
from tcomp.reference import is_right, list_tensors, measure_error
from tcomp.zoo import build

STEPS = 20


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    """Dynamo remembers which sizes it saw change, per line of code."""
    torch._dynamo.reset()
    torch.manual_seed(0)


def make_mlp():
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4))


def make_convnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


class Layer(nn.Module):
    """Causal attention of four heads and two linear layers, each after a layer norm and added to what came in."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden, self.shown = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x):
        query, key, value = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.mixed(self.first(x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.joined(mixed))
        return x + self.dropout(self.shown(F.gelu(self.hidden(self.second(x)))))


class Transformer(nn.Module):
    """Two layers between an embedding of 20 words and the logits of four classes."""

    def __init__(self, width=32):
        super().__init__()
        self.words, self.places = nn.Embedding(20, width), nn.Embedding(16, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(2))
        self.last, self.logits = nn.LayerNorm(width), nn.Linear(width, 4)

    def forward(self, words):
        x = self.words(words) + self.places(torch.arange(words.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.logits(self.last(x)).mean(1)


def use_sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def use_adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01, eps=1e-4)


def train(module, function, batches, make_optimizer):
    optimizer = make_optimizer(module.parameters())
    losses = []
    for step in range(STEPS):
        inputs, labels = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = F.cross_entropy(function(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def check_training(module, inputs, *, make_optimizer=use_sgd, compile=None, **options):
    """Train a module and a compiled copy on the same batches; losses agree to 1e-4, parameters and buffers closely."""
    ours = copy.deepcopy(module)
    compiled = compile(ours) if compile else torch.compile(ours, backend="tcomp", options={"fallback": "error", **options})
    batches = [(batch, torch.randint(0, 4, (len(batch),))) for batch in inputs]
    want, got = train(module, module, batches, make_optimizer), train(ours, compiled, batches, make_optimizer)
    assert want[-1] < 0.9 * want[0], "nothing was learned"
    assert got == pytest.approx(want, rel=1e-4, abs=0)
    for (name, tensor), (_, other) in zip(ours.state_dict().items(), module.state_dict().items(), strict=True):
        torch.testing.assert_close(tensor, other, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("make_optimizer", [use_sgd, use_adamw])
def test_an_mlp_trains(make_optimizer):
    check_training(make_mlp(), [torch.randn(8, 16)], make_optimizer=make_optimizer)


def test_a_transformer_trains():
    check_training(Transformer(), [torch.randint(0, 20, (4, 12))])


def test_a_convnet_trains_and_updates_running_statistics():
    check_training(make_convnet(), [torch.randn(4, 3, 16, 16)])


def test_the_last_batch_may_be_smaller():
    """Dynamo makes the batch symbolic when it changes; batch norm divides by it, so that it is fixed at the call."""
    check_training(make_convnet(), [torch.randn(4, 3, 16, 16), torch.randn(4, 3, 16, 16), torch.randn(3, 3, 16, 16)], fallback="silent")


def test_a_compiled_module_trains_through_torch_compile():
    def compile(module):
        with warnings.catch_warnings(record=True):
            return tcomp.compile(module, fallback="error")

    check_training(make_mlp(), [torch.randn(8, 16)], compile=compile)


def take_step(module, function, inputs):
    """The outputs of a module, their loss, and the gradients of all its parameters."""
    module.zero_grad()
    outputs = list_tensors(result := function(*inputs))
    loss = sum(output.square().mean() + output.abs().mean() for output in (result if isinstance(result, tuple) else (result,)))
    loss.backward()
    named = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    return {"loss": loss.detach(), **{f"output {number}": output for number, output in enumerate(outputs)}, **named}


def measure(value, exact):
    """Root of the mean square of the difference; the largest of a few hundred roundings says little about their size."""
    return float((value.double() - exact).square().mean().sqrt())


SEEDS = range(10)
"""Weights and inputs over which errors are summed: how near one number comes to the exact one is luck."""


def build_for_training(name, seed):
    module, inputs = build(name, size="small", seed=seed)
    for part in module.train().modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module, inputs


@pytest.mark.parametrize("name", ["bert", "resnet50", "vit"])
def test_losses_and_gradients_of_a_model_are_as_right_as_those_of_eager(name):
    """Whether the errors are at most twice eager's own, or one unit in the last place of the values' size."""
    ours, _ = build_for_training(name, 0)
    compiled = torch.compile(ours, backend="tcomp", options={"fallback": "error"})
    errors, limits = Counter(), Counter()
    for seed in SEEDS:
        module, inputs = build_for_training(name, seed)
        ours.load_state_dict(module.state_dict())
        ours.zero_grad()
        wide = copy.deepcopy(module).double()
        got, eager = take_step(ours, compiled, inputs), take_step(module, module, inputs)
        exact = take_step(wide, wide, tuple(value.double() if value.is_floating_point() else value for value in inputs))
        assert got.keys() == eager.keys() == exact.keys()
        for key, value in got.items():
            size = float(exact[key].square().mean().sqrt())
            errors[key] += measure(value, exact[key])
            limits[key] += max(2 * measure(eager[key], exact[key]), torch.finfo(value.dtype).eps * size)
        for (key, buffer), (_, other) in zip(ours.named_buffers(), module.named_buffers(), strict=True):
            torch.testing.assert_close(buffer, other, msg=lambda text, key=key: f"{key}: {text}")
    assert {key: (error, limits[key]) for key, error in errors.items() if error > limits[key]} == {}


def test_gradients_reach_inputs():
    module = make_mlp()
    compiled = torch.compile(module, backend="tcomp", options={"fallback": "error"})
    x, y = (torch.randn(8, 16, requires_grad=True) for _ in range(2))
    got, want = (torch.autograd.grad(f(x * y).square().sum(), (x, y)) for f in (compiled, module))
    torch.testing.assert_close(got, want)


def test_no_gradients_cross_no_grad():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)

    def function(x):
        with torch.no_grad():
            target = second(x).relu()
        return (first(x) - target).square().sum() + second(x).sum()

    compiled = torch.compile(function, backend="tcomp", options={"fallback": "error"})
    x = torch.randn(4, 8)
    parameters = [*first.parameters(), *second.parameters()]
    got, want = (torch.autograd.grad(f(x), parameters) for f in (compiled, function))
    torch.testing.assert_close(got, want)


def test_autocast_computes_in_bfloat16():
    module = make_mlp()
    ours, wide = copy.deepcopy(module), copy.deepcopy(module).double()
    compiled = torch.compile(ours, backend="tcomp", options={"fallback": "error"})
    x = torch.randn(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compiled(x).dtype == module(x).dtype == torch.bfloat16
        got, eager = take_step(ours, compiled, (x,)), take_step(module, module, (x,))
    exact = take_step(wide, wide, (x.double(),))
    for name, value in got.items():
        assert value.dtype == eager[name].dtype
        error, eager_error = (measure_error([v], [exact[name]]) for v in (value, eager[name]))
        assert is_right(error, eager_error, [torch.empty((), dtype=torch.bfloat16)]), name


def test_hooks_run():
    module = make_mlp()
    seen = []
    module[1].register_forward_hook(lambda part, inputs, output: output * 2)
    module[0].weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    x = torch.randn(8, 16)
    compiled = torch.compile(module, backend="tcomp", options={"fallback": "error"})
    got, want = ({k: v.clone() for k, v in take_step(module, f, (x,)).items()} for f in (compiled, module))
    torch.testing.assert_close(got, want)
    assert len(seen) == 2
    torch.testing.assert_close(*seen)


def test_parameters_keep_their_names_and_updates_in_place_are_noticed():
    module = make_convnet().eval()
    x = torch.randn(2, 3, 16, 16)
    compiled = torch.compile(module, backend="tcomp", options={"fallback": "error"})
    assert [key.removeprefix("_orig_mod.") for key in compiled.state_dict()] == list(module.state_dict())
    assert list(tcomp.compile(module).state_dict()) == list(module.state_dict())
    before = compiled(x).detach()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    torch.testing.assert_close(compiled(x), module(x))
    assert not torch.equal(before, compiled(x))
    state = {name: tensor / 2 for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
    module.load_state_dict(state, strict=False)
    torch.testing.assert_close(compiled(x), module(x))


def test_a_copy_trains_by_itself():
    module = make_mlp()
    compiled = torch.compile(module, backend="tcomp", options={"fallback": "error"})
    x = torch.randn(8, 16)
    compiled(x)
    other = copy.deepcopy(compiled)
    before = compiled(x).detach()
    train(other, other, [(x, torch.randint(0, 4, (8,)))], use_sgd)
    torch.testing.assert_close(compiled(x), before, rtol=0, atol=0)
    torch.testing.assert_close(other(x), other._orig_mod(x))
    assert not torch.allclose(other(x), before)


def test_gradients_do_not_depend_on_which_thread_is_first(monkeypatch):
    """Columns of the first weight's gradient are stored by two instances, between each other's."""
    monkeypatch.setenv("TCOMP_CHECK_KERNELS", "1")
    module = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    compiled = torch.compile(module, backend="tcomp", options={"fallback": "error", "threads": 2})
    x = torch.randn(4, 16)
    wanted = take_gradients(module, module, x)
    for _ in range(10):
        for got, want in zip(take_gradients(module, compiled, x), wanted, strict=True):
            torch.testing.assert_close(got, want)


def take_gradients(module, function, x):
    module.zero_grad()
    function(x.clone().requires_grad_()).sum().backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


CHECKED = {
    "a division": (lambda x, w: w * (7 // x), [[3, 1], [3, 0]]),
    "an index": (lambda x, w: torch.zeros(4).index_add(0, x, w * 2), [[3, 1], [3, -1]]),
    "an assertion": (lambda x, w: torch._assert_async((x > 0).all()) or w * x, [[3, 1], [3, 0]]),
}


@pytest.mark.parametrize("name", CHECKED)
def test_data_is_checked_where_gradients_are_taken(name):
    function, (right, wrong) = CHECKED[name]
    torch._dynamo.reset()
    compiled, weight = torch.compile(function, backend="tcomp"), torch.ones(2, requires_grad=True)
    compiled(torch.tensor(right), weight).sum().backward()
    for run in (function, compiled):
        with pytest.raises((RuntimeError, IndexError)):
            run(torch.tensor(wrong), weight)
