import logging
import operator
import threading
import traceback
from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from tcomp.capture.capture import capture
from tcomp.capture.refusals import ChangesState
from tcomp.capture.run import find_mismatch, run_captured
from tcomp.capture.types import (
    NodeOutput,
    TensorInput,
    ValueInput,
    ValueOutput,
)
from tcomp.ir.errors import TcompError, Unsupported
from tcomp.zoo import NAMES, build
from tests.captures import Function, check, check_graph, check_same, targets

aten = torch.ops.aten


def test_operators_come_out_as_core_aten():
    block = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.5), nn.SiLU(), nn.Softmax(-1)).eval()
    captured = check(block, torch.randn(2, 3, 8))
    assert set(targets(captured)) == {
        aten.view.default,
        aten.permute.default,
        aten.addmm.default,
        aten.native_layer_norm.default,
        operator.getitem,
        aten.gelu.default,
        aten.silu.default,
        aten._softmax.default,
    }


def test_scaled_dot_product_attention_comes_out_as_products_and_softmax():
    q = torch.randn(2, 4, 8, 16)
    captured = check(lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True), q, q + 1, q - 1)
    assert targets(captured).count(aten.bmm.default) == 2
    assert not any("attention" in str(target) for target in targets(captured))


def test_inference_mode_gives_the_same_graph():
    module = nn.Sequential(nn.Linear(4, 4), nn.Flatten())
    with torch.inference_mode():
        inside = capture(module, (torch.randn(2, 3, 4),))
    assert targets(inside) == targets(capture(module, (torch.randn(2, 3, 4),)))
    check(torch.inference_mode()(lambda x: x.reshape(-1).contiguous() @ x.reshape(-1)), torch.randn(2, 3))


def test_autocast_inside_and_around():
    def inside(x, y):
        with torch.autocast("cpu", torch.bfloat16):
            return x @ y

    captured = check(inside, torch.randn(3, 3), torch.randn(3, 3))
    assert captured.outputs[0].val.dtype is torch.bfloat16
    linear = nn.Linear(4, 4)
    x = torch.randn(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        capture(linear, (x,))
        assert type(linear(x)) is Tensor, "autocast must not have kept a fake weight"


def test_arguments_by_keyword_nested_and_not_tensors():
    Pair = namedtuple("Pair", "first second")

    def function(x, *, scale, parts, flag=True):
        total = x * scale + parts["a"][0] - parts["a"][1]
        return {"total": total if flag else -total, "pair": Pair(total.sum(), scale), "none": None}

    x = torch.randn(3)
    captured = check(function, x, scale=2.5, parts={"a": [torch.ones(3), torch.zeros(1)]}, flag=False)
    kinds = [type(one) for one in captured.inputs]
    assert kinds == [TensorInput, ValueInput, TensorInput, TensorInput, ValueInput]
    assert [type(one) for one in captured.outputs] == [NodeOutput, NodeOutput, ValueOutput, ValueOutput]
    wrong = [x, 2.0, torch.ones(3), torch.zeros(1), False]
    assert find_mismatch(captured, wrong) == "input 1 is 2.0, captured was 2.5"
    with pytest.raises(Unsupported, match=r"input 1 is 2.0"):
        run_captured(captured, (x,), {"scale": 2.0, "parts": {"a": [torch.ones(3), torch.zeros(1)]}, "flag": False})
    with pytest.raises(Unsupported, match=r"the structure of the arguments differs"):
        run_captured(captured, (x,), {"scale": 2.5})


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (torch.randn(2, 4), "has shape"),
        (torch.randn(2, 3, dtype=torch.float64), "is torch.float64"),
        (torch.randn(3, 2).t(), "has strides"),
        (1.0, "is a float"),
    ],
)
def test_other_tensors_than_captured_are_refused(other, reason):
    captured = capture(Function(lambda x: x + 1), (torch.randn(2, 3),))
    assert find_mismatch(captured, [torch.randn(2, 3)]) is None
    assert reason in (find_mismatch(captured, [other]) or "")


def test_batch_norm_in_training_updates_its_buffers():
    module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    captured = capture(module, (torch.randn(4, 2, 5, 5),))
    check_same(dict(module.state_dict()), before)
    names = {mutation.of.name for mutation in captured.mutations}
    assert names == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert captured.constants["1.running_mean"] is module[1].running_mean
    check(module, torch.randn(4, 2, 5, 5))
    check(nn.InstanceNorm2d(2), torch.randn(4, 2, 5, 5))


def test_a_plain_attribute_is_a_live_constant():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.count = [torch.zeros(2)]

        def forward(self, x):
            self.count[0] += 1
            return x + self.count[0]

    module = Counter()
    captured = capture(module, (torch.zeros(2),))
    (mutation,) = captured.mutations
    assert captured.constants[mutation.of.name] is module.count[0]
    assert run_captured(captured, (torch.zeros(2),)).tolist() == [1.0, 1.0]
    assert run_captured(captured, (torch.zeros(2),)).tolist() == [2.0, 2.0]


def test_tied_parameters_are_one_constant_with_the_first_name():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.head = nn.Linear(4, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    captured = check(Tied(), torch.tensor([1, 2]))
    assert list(captured.constants) == ["embed.weight"]


def test_random_operators_draw_what_eager_draws():
    class Noisy(nn.Module):
        def forward(self, x):
            noise = torch.empty_like(x).normal_() + torch.rand_like(x) + torch.bernoulli(torch.full_like(x, 0.5))
            return nn.functional.dropout(x, 0.5, training=True) + noise, torch.randperm(5)

    captured = capture(Noisy(), (torch.randn(3, 4),))
    check_graph(captured)
    x = torch.randn(3, 4)
    torch.manual_seed(3)
    want = Noisy()(x)
    torch.manual_seed(3)
    check_same(run_captured(captured, (x,)), want)


def test_capture_computes_nothing_and_leaves_the_random_state():
    state = torch.get_rng_state()
    capture(Function(lambda x: torch.rand_like(x) + x), (torch.randn(2),))
    state_after = torch.get_rng_state()
    torch.set_rng_state(state)
    torch.randn(2)
    assert torch.equal(torch.get_rng_state(), state_after)


def test_what_fails_on_fake_tensors_is_told_by_the_error_alone(caplog):
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before = list(logger.filters)
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(TcompError, match="reduction dim"):
            capture(nn.Linear(3, 3), (torch.ones(2, 4),))
        assert not caplog.records and logger.filters == before
        with pytest.raises(RuntimeError), FakeTensorMode(allow_non_fake_inputs=True):
            nn.Linear(3, 3)(torch.ones(2, 4))
        assert [record.levelname for record in caplog.records][:1] == ["ERROR"], "what PyTorch says elsewhere it goes on to say"
    finally:
        logger.removeHandler(caplog.handler)


class Inner(nn.Module):
    def forward(self, x):
        return x.exp()  # the line of exp


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Inner(), Inner()])
        self.last = nn.Linear(3, 3)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.last(x).sin()  # the line of sin


def find_line(mark: str) -> int:
    with open(__file__) as file:
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(f"# the line of {mark}"))


def test_source_names_the_module_and_the_users_line():
    captured = capture(Outer(), (torch.randn(2, 3),))
    sources = {node.target: node.meta["source"] for node in captured.graph.graph.nodes if node.op == "call_function"}
    assert sources[aten.sin.default].module_path == ""
    assert sources[aten.sin.default].line == f"test_capture.py:{find_line('sin')}"
    assert sources[aten.exp.default].module_path == "blocks.1"
    assert sources[aten.exp.default].line == f"test_capture.py:{find_line('exp')}"
    # The user's deepest line for a layer of torch's own is where it is called.
    assert sources[aten.addmm.default].module_path == "last"
    assert sources[aten.addmm.default].line == f"test_capture.py:{find_line('sin')}"


def test_source_within_torch_only_is_the_layers_line():
    captured = capture(nn.Sequential(nn.Linear(3, 3)), (torch.randn(2, 3),))
    (source,) = {node.meta["source"] for node in captured.graph.graph.nodes if node.target is aten.addmm.default}
    assert source.module_path == "0"
    assert source.line.startswith("linear.py:")


def branch(x):
    return x + 1 if x.sum() > 0 else x  # the line of branch


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (branch, "Python code depends on the values of a tensor"),
        (lambda x: x * x.max().item(), "Python code depends on the values of a tensor"),
        (lambda x: x[x > 0], "the shape of the result of aten.index.Tensor depends"),
        (lambda x: x.nonzero(), "the shape of the result of aten.nonzero.default depends"),
        (lambda x: x + len(x.tolist()), "Python code depends on the values of a tensor"),
        (lambda x: torch.from_numpy(x.numpy()), "reads the memory of a tensor"),
        (lambda x: torch.equal(x, x), "Python code depends on the values"),
    ],
)
def test_data_dependent_python_is_refused(function, what):
    with pytest.raises(Unsupported) as caught:
        capture(Function(function), (torch.randn(3),))
    assert what in caught.value.what
    assert "test_capture.py:" in caught.value.where
    assert "torch.compile(module, backend='tcomp')" in caught.value.help


def test_refusal_names_module_and_line():
    with pytest.raises(Unsupported) as caught:
        capture(nn.Sequential(nn.ReLU(), Function(branch)), (torch.randn(3),))
    assert caught.value.where == f"1 (test_capture.py:{find_line('branch')})"


def test_literals_may_be_read_back():
    captured = check(lambda x: x * torch.tensor(2.0).item(), torch.randn(3))
    assert aten.mul.Tensor in targets(captured)


def test_other_refusals():
    with pytest.raises(TcompError, match="the module failed while it was recorded: RuntimeError") as caught:
        capture(Outer(), (torch.randn(2, 4),))
    assert caught.value.where.startswith("last (test_capture.py:")
    with pytest.raises(Unsupported, match="an input of type object"):
        capture(Function(lambda x: x), (object(),))
    with pytest.raises(Unsupported, match="an output of type object"):
        capture(Function(lambda x: object()), (torch.randn(2),))
    with pytest.raises(Unsupported, match=r"layout torch\.sparse_coo"):
        capture(Function(lambda x: x + x), (torch.randn(2, 2).to_sparse(),))
    with pytest.raises(Unsupported, match="changes the shape of a tensor in place"):
        capture(Function(lambda x: x.unsqueeze_(0)), (torch.randn(2),))
    with pytest.raises(Unsupported, match=r"in-place write through a view made by aten.unfold.default"):
        capture(Function(lambda x: (x * 1).unfold(0, 2, 2).add_(1)), (torch.randn(4),))
    with pytest.raises(Unsupported, match="on memory that is not dense"):
        capture(Function(lambda x: x.as_strided((2,), (1,))), (torch.randn(4)[::2],))
    with pytest.raises(Unsupported, match="writes in place in an unknown way"):
        capture(Function(lambda x: torch._foreach_add_([x], 1)), (torch.randn(4),))
    with pytest.raises(Unsupported, match=r"_linalg_check_errors.default acts without a result"):
        capture(Function(torch.linalg.inv), (torch.randn(4, 4),))
    with pytest.raises(TcompError, match="can't be cast"):
        capture(Function(lambda x: x.add_(0.5)), (torch.arange(4),))
    x = torch.randn(4)
    with pytest.raises(Unsupported, match="memory that another input or constant shares"):
        capture(Function(lambda x, y: x.add_(y)), (x, x[:]))


def test_other_threads_run_their_modules_meanwhile():
    started, done = threading.Event(), threading.Event()
    paths = []
    other = Inner()

    def work():
        started.wait(10)
        paths.append(other(torch.zeros(1)).item())
        done.set()

    def function(x):
        started.set()
        assert done.wait(10)
        return x + 1

    thread = threading.Thread(target=work)
    thread.start()
    captured = capture(Function(function), (torch.randn(2),))
    thread.join()
    assert paths == [1.0]
    assert targets(captured) == [aten.add.Tensor]


def test_dynamic_sizes_are_symbols():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x, mask):
            batch, length, _ = x.shape
            q, k, v = self.qkv(x).view(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
            scores = (q @ k.transpose(-1, -2) + mask[:, None, None, :]).softmax(-1)
            return (scores @ v).reshape(batch, length * 8), torch.arange(length * 2 + 1), length

    module = Attention()
    captured = capture(module, (torch.randn(2, 5, 8), torch.randn(2, 5)), dynamic=True)
    check_graph(captured)
    places = {(symbol.input, symbol.dim) for symbol in captured.symbols.values()}
    assert places == {(0, 0), (0, 1)}, "the last is fixed by the weights, the mask's follow from the first input's"
    assert all(symbol.minimum == 2 for symbol in captured.symbols.values())
    for batch, length in ((2, 5), (3, 7)):
        inputs = (torch.randn(batch, length, 8), torch.randn(batch, length))
        with torch.no_grad():
            want = module(*inputs)
        assert find_mismatch(captured, list(inputs)) is None
        check_same(run_captured(captured, inputs), want)
    assert "input 1 has shape" in (find_mismatch(captured, [torch.randn(2, 5, 8), torch.randn(2, 6)]) or "")
    assert "outside the range" in (find_mismatch(captured, [torch.randn(1, 5, 8), torch.randn(1, 5)]) or "")


def test_dynamic_branches_become_guards():
    def function(x):
        return x + 1 if x.shape[0] % 4 == 0 and x.shape[1] > 7 else x - 1

    captured = capture(Function(function), (torch.zeros(8, 9),), dynamic=True)
    assert find_mismatch(captured, [torch.zeros(16, 8)]) is None
    assert "does not hold" in (find_mismatch(captured, [torch.zeros(9, 9)]) or "")
    assert find_mismatch(captured, [torch.zeros(8, 7)]) is not None


def test_dynamic_aliases_are_replayed_with_the_callers_sizes():
    captured = capture(Function(lambda x: x.view(x.shape[0] * 2, -1)), (torch.randn(4, 6),), dynamic=True)
    x = torch.randn(3, 8)
    (result,) = tree_leaves(run_captured(captured, (x,)))
    assert result.shape == (6, 4)
    assert result.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_zoo(name):
    module, inputs = build(name, size="small")
    captured = check(module, *inputs)
    for node in captured.graph.graph.nodes:
        if node.op == "call_function":
            assert node.meta["source"].line != "no line of the user's", node


def test_transformers_outputs_and_keywords():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    module = transformers.BertModel(config).eval()
    ids = torch.arange(6)[None]
    keywords = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "output_hidden_states": True}
    # The first call puts hooks into the module.
    with pytest.raises(ChangesState, match="_forward_hooks"):
        capture(module, (), keywords)
    module(**keywords)
    check(module, **keywords)


def test_errors_of_the_module_show_the_users_frames_only():
    class Fails(nn.Module):
        def forward(self, x):
            return self.inner(x)

        def inner(self, x):
            return x @ torch.ones(7, 7)

    with pytest.raises(TcompError) as caught:
        capture(Fails(), (torch.ones(2, 3),))
    cause = caught.value.__cause__
    names = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
    assert names == ["forward", "inner"]
    shown = "".join(traceback.format_exception(caught.value))
    assert "torch/_subclasses" not in shown and "torch/_ops" not in shown
