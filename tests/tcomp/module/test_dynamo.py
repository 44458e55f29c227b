import functools
import os
import pickle
import subprocess
import sys
import traceback

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed
from torch._ops import OpOverload

import tcomp
from tcomp.ir import errors
from tcomp.module.dynamo import compile_with
from tcomp.module.dynamo_errors import let_through
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


def test_gradients_of_attention_are_as_exact_as_float64():
    torch.manual_seed(0)
    module, x = Attention(is_masked=True).double(), torch.randn(2, 6, 16, dtype=torch.float64)
    want = torch.autograd.grad(module(x).square().sum(), tuple(module.parameters()))
    got = torch.autograd.grad(tcomp.compile(module, fallback="error")(x).square().sum(), tuple(module.parameters()))
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_graphs_are_split_where_python_reads_values():
    def function(x):
        y = x * 2
        return y + 1 if y.sum() > 0 else y - 1

    recording = Recording()
    compiled = recording.compile(function)
    for x in (torch.ones(3), -torch.ones(3)):
        torch.testing.assert_close(compiled(x), function(x))
    assert len(recording.graphs) == 3


def find_error(function, *args):
    with pytest.raises(tcomp.TcompError) as caught:
        function(*args)
    return caught.value


def decompose(x):
    return torch.linalg.svd(x + 1)[1]


@pytest.mark.parametrize("options", [{"fallback": "error"}, {"threads": 0}, {"nonsense": 1}], ids=lambda options: next(iter(options)))
def test_errors_come_through_dynamo_as_they_are(options):
    torch._dynamo.reset()
    error = find_error(torch.compile(decompose, backend="tcomp", options=options), torch.ones(3, 3))
    text = "".join(traceback.format_exception(error))
    assert isinstance(error, BackendCompilerFailed), "whoever expects what Dynamo makes of errors gets that"
    first, *others = str(error).splitlines()
    assert text.count(first) == 1 and f"tcomp.ir.errors.{type(error).__name__}: {error}\n" in text
    assert [line.partition(":")[0].strip() for line in others] == ["where", "help"]
    assert "TORCHDYNAMO_VERBOSE" not in str(error) + repr(error)
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert files[0] == __file__ and len([file for file in files if "torch" in file.split(os.sep)]) <= 1 and len(files) <= 4, files
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied).__name__ == type(error).__name__ and str(copied) == str(error) and copied.help == error.help
    assert not isinstance(copied, BackendCompilerFailed)


def test_errors_in_graphs_of_dynamo_name_the_users_line():
    torch._dynamo.reset()
    error = find_error(torch.compile(decompose, backend="tcomp", options={"fallback": "error"}), torch.ones(3, 3))
    assert isinstance(error, tcomp.Unsupported)
    assert f"{__file__}, line {decompose.__code__.co_firstlineno + 1}, in decompose (" in error.where


class Decompose(nn.Linear):
    def forward(self, x):
        return decompose(super().forward(x))


def test_errors_come_through_where_gradients_are_wanted():
    assert isinstance(find_error(tcomp.compile(Decompose(3, 3), fallback="error"), torch.ones(3, 3)), tcomp.Unsupported)


def multiply(x, y):
    return x @ y


def test_types_that_eager_refuses_are_told_with_the_users_line():
    torch._dynamo.reset()
    error = find_error(torch.compile(multiply, backend="tcomp"), torch.ones(3, 3), torch.ones(3, 3).double())
    assert isinstance(error, RuntimeError), "as eager's is"
    assert error.what == "aten.mm.default: expected tensors of the same dtype, but got torch.float32 and torch.float64"
    assert error.where == f"{__file__}, line {multiply.__code__.co_firstlineno + 1}, in multiply"


def test_all_frames_are_shown_on_request():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(verbose=True):
        error = find_error(torch.compile(decompose, backend="tcomp", options={"fallback": "error"}), torch.ones(3, 3))
    assert "compile_graph" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_errors_of_others_are_wrapped_as_ever(monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("not of tcomp's family")

    monkeypatch.setattr(tcomp.module.dynamo, "correct_losses", fail)
    torch._dynamo.reset()
    with pytest.raises(BackendCompilerFailed, match="ValueError: not of tcomp's family") as caught:
        torch.compile(decompose, backend="tcomp")(torch.ones(3, 3))
    assert not isinstance(caught.value, tcomp.TcompError)


@pytest.mark.parametrize("kind", [errors.TcompError, *errors.TcompError.__subclasses__(), errors.BrokenCompiler, errors.VerifyError])
def test_every_kind_of_error_can_come_through(kind):
    given = kind("what", line=1, column=2, source="ab") if kind is errors.ParseError else kind("what", where="here", help="do")
    with pytest.raises(kind) as caught, let_through(find_error):
        raise given
    assert isinstance(caught.value, BackendCompilerFailed) and caught.value.inner_exception is given
    assert (str(caught.value), vars(caught.value) | vars(given)) == (str(given), vars(caught.value))


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
