import functools
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch._ops import OpOverload

import tcomp
from tcomp.module.dynamo import compile_with
from tcomp.options import Options

aten = torch.ops.aten


class Recording:
    """Stands in for tcomp.module.graphs.compile_graph: keeps the graphs and runs them with eager operators."""

    def __init__(self):
        self.graphs = []

    def __call__(self, gm, example_inputs, *, options):
        assert isinstance(options, Options)
        placeholders = [node for node in gm.graph.nodes if node.op == "placeholder"]
        assert len(placeholders) == len(example_inputs)
        for node in gm.graph.nodes:
            assert "val" in node.meta or node.op in ("output", "get_attr"), node
            if isinstance(node.target, OpOverload):
                assert not node.target._schema.is_mutable, node
        self.graphs.append(gm)
        return lambda arguments: torch.fx.Interpreter(gm).run(*arguments)

    def targets(self) -> set:
        return {node.target for gm in self.graphs for node in gm.graph.nodes if node.op == "call_function"}

    def compile(self, module, **kwargs):
        def backend(gm, inputs):
            return compile_with(self, gm, inputs, Options())

        torch._dynamo.reset()
        return torch.compile(module, backend=backend, **kwargs)


def check_training(module: nn.Module, *inputs: Tensor) -> Recording:
    """Train three steps compiled and in eager from the same weights and seeds; compare losses, gradients and buffers."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def train(function) -> list:
        module.load_state_dict(state)
        seen = []
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
        for step in range(3):
            torch.manual_seed(step)
            optimizer.zero_grad()
            loss = function(*inputs).square().mean()
            loss.backward()
            seen += [loss.detach(), *(parameter.grad.clone() for parameter in module.parameters())]
            optimizer.step()
        return seen + [buffer.clone() for buffer in module.buffers()]

    want = train(module)
    recording = Recording()
    got = train(recording.compile(module))
    assert recording.graphs, "nothing was compiled"
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)
    return recording


def test_mlp_trains_with_parameters_as_inputs():
    recording = check_training(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)), torch.randn(5, 4))
    assert len(recording.graphs) == 2, "a forward and a backward graph"
    forward = recording.graphs[0]
    assert [node.op for node in forward.graph.nodes].count("placeholder") == 5
    assert not any(node.op == "get_attr" for node in forward.graph.nodes)
    assert aten.gelu_backward.default not in recording.targets()


def test_convolutions_and_batch_norm_train_and_update_buffers():
    recording = check_training(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(27, 2)),
        torch.randn(4, 2, 5, 5),
    )
    assert aten.var_mean.correction in recording.targets()
    assert not any("batch_norm" in str(target) for target in recording.targets())


def test_dropout_draws_what_eager_draws():
    check_training(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.SiLU()), torch.randn(5, 4))


class Attention(nn.Module):
    """Attention by PyTorch's own function, with fewer heads for keys if asked."""

    def __init__(self, *, is_causal: bool = False, is_masked: bool = False, key_heads: int = 4):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 4 * key_heads), nn.Linear(16, 4 * key_heads)
        self.is_causal, self.is_masked, self.key_heads = is_causal, is_masked, key_heads

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, 4)).transpose(1, 2) for f in (self.query, self.key, self.value))
        mask = (torch.arange(x.shape[1]) < x.shape[1] - 1)[None, None, None, :] if self.is_masked else None
        out = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=self.is_causal, enable_gqa=self.key_heads != 4
        )
        return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"is_masked": True}, {"key_heads": 2}], ids=str)
def test_attention_trains_without_fused_operators(options):
    recording = check_training(Attention(**options), torch.randn(2, 6, 16))
    assert not any("attention" in str(target) for target in recording.targets())


def test_graphs_are_split_where_python_reads_values():
    def function(x):
        y = x * 2
        return y + 1 if y.sum() > 0 else y - 1

    recording = Recording()
    compiled = recording.compile(function)
    for x in (torch.ones(3), -torch.ones(3)):
        torch.testing.assert_close(compiled(x), function(x))
    assert len(recording.graphs) == 3


def test_symbolic_sizes_come_as_inputs():
    recording = Recording()
    compiled = recording.compile(lambda x: x.sum(1) + torch.arange(x.shape[0] * 2).view(2, -1), dynamic=True)
    for size in (4, 6, 9):
        x = torch.randn(size, 6)
        torch.testing.assert_close(compiled(x), x.sum(1) + torch.arange(size * 2).view(2, -1))
    assert len(recording.graphs) == 1
    vals = [node.meta["val"] for node in recording.graphs[0].graph.nodes if node.op == "placeholder"]
    assert any(isinstance(val, torch.SymInt) for val in vals)


def test_inputs_are_mutated_and_aliased_as_eager_would():
    def function(x, y):
        x.add_(1)
        y[:, 0] = 0
        return x.view(-1), y + 1

    compiled = Recording().compile(function)
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    ours, theirs = (x.clone(), y.clone()), (x.clone(), y.clone())
    got, want = compiled(*ours), function(*theirs)
    torch.testing.assert_close((got, ours), (want, theirs))
    assert got[0].data_ptr() == ours[0].data_ptr()


@pytest.mark.parametrize("order", ["import tcomp, torch", "import torch._dynamo as d; d.list_backends(); import tcomp, torch"])
def test_a_checkout_registers_the_backend(order):
    lookup = "from torch._dynamo.backends.registry import lookup_backend as f"
    program = f"{order}; {lookup}; assert f('tcomp').__module__ == 'tcomp.module.dynamo'"
    root = os.path.dirname(os.path.dirname(os.path.abspath(tcomp.__file__)))
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": root})


def test_importing_tcomp_does_not_import_torch():
    root = os.path.dirname(os.path.dirname(os.path.abspath(tcomp.__file__)))
    run = functools.partial(subprocess.run, check=True, env={**os.environ, "PYTHONPATH": root})
    run([sys.executable, "-c", "import sys, tcomp; assert 'torch' not in sys.modules"])
