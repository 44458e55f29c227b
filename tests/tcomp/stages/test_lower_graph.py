"""Graphs to cascades: inputs, outputs, symbols, sources, refusals."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from tcomp.capture.types import Source as CapturedSource
from tcomp.ir.cascade import Source
from tcomp.ir.errors import Unsupported
from tcomp.stages.lower_graph import find_unsupported, lower_graph
from tcomp.torch_types import UnsupportedSize
from tests.lowering_support import capture, check, execute, find_mismatch


def test_a_cascade_reads_as_the_graph():
    def function(x, w):
        return torch.relu(x @ w).to(torch.bfloat16)

    cascade = lower_graph(capture(function, torch.randn(2, 3), torch.randn(3, 4)), name="small", weights=["w_1"])
    assert str(cascade).splitlines() == [
        "cascade small(x_1: f32[2, 3], weight w_1: f32[3, 4]) -> (_to_copy) {",
        "  mm: f32[i:2, j:4] = sum(r:3) x_1[i, r] * w_1[r, j]",
        "  relu: f32[i:2, j:4] = maximum(mm[i, j], 0.0)",
        "  _to_copy: bf16[i:2, j:4] = bf16(relu[i, j])",
        "}",
    ]


def test_constants_of_the_graph_are_weights():
    constant = torch.randn(3)
    graph = capture(lambda x: x + constant, torch.randn(3))
    cascade = lower_graph(graph)
    assert [t.weight for t in cascade.inputs] == [False, True]
    argument = torch.randn(3)
    assert find_mismatch(execute(graph, [argument])[0], argument + constant) is None


@pytest.mark.parametrize("source", [Source("a.b", "model.py:3"), CapturedSource("a.b", "model.py:3")])
def test_einsums_know_where_they_came_from(source):
    graph = capture(lambda x: x.sin(), torch.randn(3))
    next(n for n in graph.graph.nodes if n.op == "call_function").meta["source"] = source
    (einsum,) = lower_graph(graph).statements
    assert einsum.source == Source("a.b", "model.py:3")


def test_symbolic_sizes_become_symbols_with_ranges():
    graph = capture(lambda x, y: x.view(-1, 4) @ y, torch.randn(6, 8), torch.randn(4, 5), dynamic=True)
    cascade = lower_graph(graph)
    assert all(symbol.low == 2 and symbol.high is None for symbol in cascade.symbols)
    arguments = [torch.randn(10, 8), torch.randn(4, 5)]
    assert find_mismatch(execute(graph, arguments)[0], arguments[0].view(-1, 4) @ arguments[1], 4) is None


def test_sizes_used_as_values():
    check(lambda x: x * x.shape[0] + x.shape[1] // 2, torch.randn(3, 5), dynamic=True)


def unsupported(function, *arguments):
    return [(str(n.target), reason) for n, reason in find_unsupported(capture(function, *arguments)).items()]


def test_an_operator_without_a_lowering_is_named_with_its_place():
    graph = capture(lambda x: torch.special.i0(x) + 1, torch.eye(3))
    refused = find_unsupported(graph)
    assert [str(n.target) for n in refused] == ["aten.i0.default"]
    with pytest.raises(Unsupported, match="has no lowering") as error:
        lower_graph(graph)
    assert "i0" in error.value.where
    assert error.value.help


def test_what_holds_for_real_numbers_only_is_refused_for_complex_ones():
    def function(x):
        modes = torch.fft.rfft(x)
        return modes.abs() + x.sum(), torch.cumprod(modes, 0), modes.acos(), torch.softmax(x, 0) + 1j

    found = unsupported(function, torch.randn(8))
    assert [name for name, _ in found] == ["aten._fft_r2c.default", "aten.cumprod.default", "aten.acos.default"]
    assert all("no lowering for complex numbers" in str(reason) for _, reason in found)


def test_sparse_tensors_are_refused():
    graph = make_fx(lambda x: x.to_sparse().to_dense(), tracing_mode="real")(torch.eye(2))
    assert any("sparse" in str(reason) or "no lowering" in str(reason) for reason in find_unsupported(graph).values())


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool], ids=str)
def test_numbers_that_depend_on_data_are_refused(dtype):
    graph = capture(lambda x: torch.add(torch.ones(3), x.amax().item()), torch.ones(3).to(dtype))
    refused = {str(node.target): str(reason) for node, reason in find_unsupported(graph).items()}
    assert "depends on data" in refused["aten._local_scalar_dense.default"]
    assert dtype == torch.int64 or "only eager knows" in refused["aten.add.Tensor"]


def test_tensors_whose_size_depends_on_data_are_left_to_eager():
    graph = capture(lambda x: torch.stack([x[x > 0].exp(), x[x > 0].neg()]).sum() + x.sum(), torch.randn(5))
    refused = {str(node.target) for node in find_unsupported(graph)}
    assert {"aten.exp.default", "aten.neg.default"} <= refused
    assert sum("sum" in target for target in refused) == 1


def test_questions_about_data_are_refused_too():
    graph = capture(lambda x, start: x.narrow(0, start, 2), torch.randn(5), torch.tensor(1))
    refused = find_unsupported(graph)
    assert str(next(iter(refused)).target) == "aten._local_scalar_dense.default"
    assert not any("dynamic=False" in str(reason) for reason in refused.values())


def test_results_that_are_inputs_keep_their_names():
    graph = capture(lambda x, y: (x, y + 1, x), torch.randn(2), torch.randn(2))
    assert lower_graph(graph).outputs == ("x_1", "add", "x_1")


def test_graphs_with_submodules_are_refused():
    class LeafTracer(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return True

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.ReLU()

        def forward(self, x):
            return self.inner(x)

    graph = torch.fx.GraphModule(outer := Outer(), LeafTracer().trace(outer))
    for node in graph.graph.nodes:
        node.meta["val"] = torch.randn(3)
    (reason,) = find_unsupported(graph).values()
    assert "call_module" in str(reason) and "inline" in reason.help


def test_quantised_tensors_are_refused():
    graph = capture(lambda x: x + 1, torch.randn(3))
    next(iter(graph.graph.nodes)).meta["val"] = torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8)
    with pytest.raises(Unsupported, match="quantised") as error:
        lower_graph(graph)
    assert "dequantize" in error.value.help


def test_symbolic_numbers_are_values_where_a_lowering_takes_them():
    graph = make_fx(lambda x, n: (x**n, n**x, torch.add(x, x, alpha=n), x.sub(x, alpha=n)), tracing_mode="symbolic")(torch.rand(3), 5)
    cascade = lower_graph(graph)
    (symbol,) = (s.name for s in cascade.symbols if s.low == 0)
    assert str(cascade).count(f"f32(i64[{symbol}])") == 4


@pytest.mark.parametrize(
    "function",
    [
        lambda x, n: F.leaky_relu(x, n),
        lambda x, n: F.elu(x, n),
        lambda x, n: F.hardtanh(x, -1, n),
        lambda x, n: torch.linspace(0, n, 3),
    ],
)
def test_symbolic_numbers_that_a_lowering_computes_with_are_fixed(function):
    graph = make_fx(function, tracing_mode="symbolic")(torch.rand(3), 5)
    with pytest.raises(UnsupportedSize, match="is symbolic, and what it is must be known"):
        lower_graph(graph)
