"""Graphs with sizes that are no indices are compiled for each set of sizes."""

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.fx import Graph, GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

import tcomp
from tcomp.capture.specialise import Signed, Specialised, find_signed, fix_sizes
from tcomp.ir.errors import Unsupported
from tcomp.module.graphs import compile_graph
from tcomp.options import Options
from tcomp.stages.graph import compile_functional
from tcomp.torch_types import UnsupportedSize


def resample(x):
    y = F.interpolate(x, scale_factor=1.3)
    return y * y.shape[0] ** -0.5, y.shape[2], x.shape[1] * 3


def make_graph(function, *inputs):
    return make_fx(function, tracing_mode="symbolic")(*inputs)


def compile_quietly(graph):
    return compile_graph(graph, (), options=Options(fallback="silent"))


def test_numbers_take_the_place_of_what_is_computed_from_sizes():
    graph = make_graph(resample, torch.randn(2, 3, 10))
    before = str(graph.graph)
    fixed = fix_sizes(graph, (torch.randn(4, 3, 20),))
    assert all(isinstance(node.meta["val"], torch.Tensor) for node in fixed.graph.nodes if node.op != "output")
    x = torch.randn(4, 3, 20)
    got, want = fixed(x), resample(x)
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=0)
    assert tuple(got[1:]) == want[1:] == (26, 9)
    assert str(graph.graph) == before


def test_one_program_serves_each_set_of_sizes():
    compiled = compile_quietly(make_graph(resample, torch.randn(2, 3, 10)))
    assert isinstance(compiled, Specialised)
    for count, shape in ((1, (2, 3, 10)), (2, (3, 4, 7)), (2, (2, 3, 10)), (3, (1, 1, 1))):
        x = torch.randn(shape)
        got, want = compiled([x]), resample(x)
        torch.testing.assert_close(got[0], want[0])
        assert tuple(got[1:]) == want[1:]
        assert compiled.count == count


def test_strides_are_sizes_too():
    compiled = compile_quietly(make_graph(resample, torch.randn(2, 3, 10)))
    x = torch.randn(10, 3, 2)
    for count, given in ((1, x.permute(2, 1, 0)), (2, x.permute(2, 1, 0).contiguous())):
        torch.testing.assert_close(compiled([given])[0], resample(given)[0])
        assert compiled.count == count


def test_a_graph_whose_sizes_are_indices_is_compiled_once():
    compiled = compile_quietly(make_graph(lambda x: (torch.cat([x, x], 1).flatten(),), torch.randn(4, 3)))
    assert not isinstance(compiled, Specialised)


def test_threads_that_meet_the_same_sizes_compile_once():
    compiled = compile_quietly(make_graph(resample, torch.randn(2, 3, 10)))
    x = torch.randn(3, 4, 9)
    results = []
    threads = [threading.Thread(target=lambda: results.append(compiled([x])[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and compiled.count == 1
    for result in results:
        torch.testing.assert_close(result, resample(x)[0])


def test_the_reason_is_told_once_unless_fallbacks_are_silent():
    graph = make_graph(resample, torch.randn(2, 3, 10))
    with pytest.warns(UserWarning, match=r"compiles anew for each set of sizes: .* is not a polynomial|is no integer") as told:
        compiled = compile_graph(graph, (), options=Options())
        compiled([torch.randn(2, 3, 10)])
        compiled([torch.randn(2, 3, 12)])
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_quietly(graph)


def test_an_operator_that_fails_on_the_sizes_is_named():
    graph = make_graph(lambda x: x.view(x.shape[0], 2, -1), torch.randn(3, 4))
    with pytest.raises(Unsupported, match=r"aten.view.default of \(.*fails") as error:
        fix_sizes(graph, (torch.randn(3, 5),))
    assert "view" in error.value.where and "dynamic=False" in error.value.help


class Resampled(nn.Module):
    """A convolution before an image is made 1.3 times as large."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return F.interpolate(self.convolution(x), scale_factor=1.3, mode="bilinear").mean((2, 3))


@pytest.mark.parametrize("dynamic", [True, None])
def test_torch_compile_trains_whatever_the_sizes_are(dynamic):
    torch._dynamo.reset()
    module = Resampled()
    compiled = torch.compile(module, backend="tcomp", dynamic=dynamic, options={"fallback": "silent"})
    for shape in ((2, 3, 8, 9), (3, 3, 10, 7), (2, 3, 8, 9)):
        x = torch.randn(shape, requires_grad=True)
        got, want = compiled(x), module(x)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x) for y in (got, want)))


class Scaled(nn.Module):
    """Divides by the root of a size."""

    def forward(self, x):
        return x * x.shape[0] ** -0.5


def test_a_compiled_module_fixes_sizes_and_says_so():
    module = Scaled()
    with pytest.warns(UserWarning, match="compiles anew for each set of sizes"):
        compiled = tcomp.compile(module, (torch.randn(4, 5),), dynamic=True)
    for shape in ((4, 5), (3, 6), (4, 5)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), module(x))
    assert len(compiled.programs) == 2
    (reason,) = compiled.fixed_sizes
    assert f"sizes are fixed: {reason}" in tcomp.explain(compiled)


def test_sizes_of_which_only_products_are_given_are_fixed():
    traced = make_graph(lambda x: (x.flatten() + 1,), torch.randn(4, 3))
    flat = next(node for node in traced.graph.nodes if node.target is torch.ops.aten.view.default)
    graph = Graph()
    given = graph.placeholder("flat")
    total = graph.call_function(torch.ops.aten.add.Tensor, (given, 1))
    given.meta["val"] = total.meta["val"] = flat.meta["val"]
    graph.output((total,))
    with pytest.raises(UnsupportedSize, match="no size of an input is s"):
        compile_functional(GraphModule({}, graph), Options())
    compiled = compile_quietly(GraphModule({}, graph))
    assert isinstance(compiled, Specialised)
    torch.testing.assert_close(compiled([torch.ones(6)])[0], torch.full((6,), 2.0))


def from_the_number_on(x, number):
    return x[(torch.arange(4) + number) % 4], x * max(number, 0), torch.full((3,), number), x[number:] * 2


@pytest.mark.parametrize("dynamic", [True, None])
def test_numbers_may_be_negative(dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(from_the_number_on, backend="tcomp", dynamic=dynamic, options={"fallback": "silent"})
    x = torch.randn(4)
    for number in (3, 2, -1, -3, 1, -1, 0):
        torch.testing.assert_close(compiled(x, number), from_the_number_on(x, number), rtol=0, atol=0)


def trace_shift(number, low=None, high=None):
    graph = make_graph(lambda x, n: (x + n // 2,), torch.arange(4), number)
    given = next(node.meta["val"] for node in graph.graph.nodes if isinstance(node.meta.get("val"), torch.SymInt))
    if low is not None:
        given.node.shape_env.constrain_symbol_range(given.node.expr, low, high)
    return graph


def test_one_program_serves_what_is_not_negative():
    graph = trace_shift(6)
    assert find_signed(graph) == [1]
    with pytest.warns(UserWarning, match="a number that it is called with is negative") as told:
        compiled = compile_graph(graph, (), options=Options())
        assert isinstance(compiled, Signed)
        for number in (6, 0, -5, 7, -5, -6):
            torch.testing.assert_close(compiled([torch.arange(4), number])[0], torch.arange(4) + number // 2)
    assert len(told) == 1
    assert not isinstance(compile_quietly(trace_shift(6, 0, 9)), Signed)


def test_what_is_always_negative_is_no_symbol():
    compiled = compile_quietly(trace_shift(-6, -9, -1))
    assert isinstance(compiled, Specialised)
    torch.testing.assert_close(compiled([torch.arange(4), -5])[0], torch.arange(4) - 3)


@pytest.mark.parametrize("function", [lambda x, n: x**n, lambda x, n: F.leaky_relu(x, n), lambda x, n: x.norm(n), lambda x, n: x * n**0.5])
def test_numbers_may_be_operands(function):
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="tcomp", dynamic=True, options={"fallback": "silent"})
    x = torch.rand(5) + 1
    for number in (2, 3, 5, 1):
        torch.testing.assert_close(compiled(x, number), function(x, number))
