"""Functional graphs of AOTAutograd's: flat lists in and out, inputs and views of them handed on, sizes as inputs."""

import pytest
import torch
from compiled import random
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import tcomp
from tcomp.module.graphs import compile_graph
from tcomp.options import Options
from tests.captures import Function


def compile_function(function, *inputs, **options):
    graph = make_fx(function, tracing_mode="fake")(*inputs)
    return compile_graph(graph, inputs, options=Options(**options))


def test_inputs_and_views_of_them_are_handed_on():
    x, y = random(3, 4), random(4)
    run = compile_function(lambda x, y: [x, x.t()[1:], x * 2 + y, y.view(2, 2), None], x, y)
    same, view, computed, square, nothing = run([x, y])
    assert same is x
    assert view.data_ptr() == x.t()[1:].data_ptr()
    assert view.stride() == x.t().stride()
    assert square.data_ptr() == y.data_ptr()
    assert nothing is None
    torch.testing.assert_close(computed, x * 2 + y)


def test_views_of_other_results_lie_in_them():
    def function(x):
        y = x * 2
        first, second = y.split(2)
        return [second.t(), y, first, x.split(2)[1]]

    x = random(4, 3)
    last, whole, first, given = compile_function(function, x)([x])
    torch.testing.assert_close(whole, x * 2)
    assert last.data_ptr() == whole[2:].data_ptr()
    assert last.stride() == (1, 3)
    assert first.data_ptr() == whole.data_ptr()
    assert given.data_ptr() == x[2:].data_ptr()


def test_a_graph_of_views_alone_compiles_nothing():
    x = random(3, 4)
    (view,) = compile_function(lambda x: [x.t()], x)([x])
    assert view.data_ptr() == x.data_ptr()


def test_inputs_of_other_strides_are_copied():
    run = compile_function(lambda x: [x * 2], random(3, 4))
    x = random(4, 3).t()
    (result,) = run([x])
    torch.testing.assert_close(result, x * 2)
    assert result.stride() == (4, 1)


def test_unsupported_operators_run_between_stages():
    function = lambda x: [torch.linalg.matrix_exp(x.exp()).sin()]  # noqa: E731 (a table would not be shorter)
    x = random(3, 3)
    (result,) = compile_function(function, x, fallback="silent")([x])
    torch.testing.assert_close(result, function(x)[0])
    with pytest.raises(tcomp.Unsupported, match="matrix_exp"):
        compile_function(function, x, fallback="error")


def test_random_operators_draw_what_eager_draws():
    def function(x):
        a = torch.bernoulli(x.sigmoid())
        return [a.exp() + torch.bernoulli(x.sigmoid() * 0.5)]

    x = random(50)
    run = compile_function(function, x, fallback="silent")
    torch.manual_seed(3)
    (got,) = run([x])
    torch.manual_seed(3)
    torch.testing.assert_close(got, function(x)[0])


class Attention(nn.Module):
    """A small transformer layer over tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(20, 16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 20)

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(x + y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_transformer_trains_also_with_symbolic_sizes(dynamic):
    torch.manual_seed(0)
    modules = Attention(), Attention()
    modules[1].load_state_dict(modules[0].state_dict())
    torch._dynamo.reset()
    losses = []
    for module, function in ((modules[0], torch.compile(modules[0], backend="tcomp", dynamic=dynamic)), (modules[1],) * 2):
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
        losses.append([])
        for step in range(6):
            rows = 2 + step % 3 if dynamic else 2
            tokens = torch.randint(0, 20, (rows, 7), generator=torch.Generator().manual_seed(step))
            loss = nn.functional.cross_entropy(function(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("operator", [torch.special.laguerre_polynomial_l, torch.add])
def test_a_part_knows_the_symbols_of_strides(operator):
    """A stage behind an operator that is left to eager read along a stride whose symbol it had never met."""
    module = Function(lambda a, b, c: operator(a, b) + c)
    compiled = torch.compile(module, backend="tcomp", options={"fallback": "silent"})
    for c in (torch.randn(2), torch.randn(5)[1::2], torch.randn(13)[1::3]):
        a, b = torch.randn(()), torch.randn(())
        torch.testing.assert_close(compiled(a, b, c), module(a, b, c), equal_nan=True)
