"""Activation functions and their gradients against eager."""

import math

import pytest
import torch

from tests.lowering_support import capture, check, execute
from tests.tcomp.lowerings.test_pointwise import example

aten = torch.ops.aten
EDGES = (0.0, -0.0, 3.0, -3.0, 1.0, -1.0, 6.0, 25.0, -25.0, 88.0, -90.0, math.nan, math.inf, -math.inf)

FUNCTIONS = {
    "relu": aten.relu.default,
    "silu": aten.silu.default,
    "gelu": aten.gelu.default,
    "gelu_tanh": lambda x: aten.gelu.default(x, approximate="tanh"),
    "elu": aten.elu.default,
    "elu_scaled": lambda x: aten.elu.default(x, 1.5, 0.7, 1.2),
    "leaky_relu": lambda x: aten.leaky_relu.default(x, 0.2),
    "hardtanh": lambda x: aten.hardtanh.default(x, -2, 1.5),
    "hardsigmoid": aten.hardsigmoid.default,
    "hardswish": aten.hardswish.default,
    "softplus": aten.softplus.default,
    "softplus_scaled": lambda x: aten.softplus.default(x, 2, 10),
    "mish": aten.mish.default,
    "threshold": lambda x: aten.threshold.default(x, 0.5, 9.0),
}
BACKWARD = {
    "gelu": aten.gelu_backward.default,
    "gelu_tanh": lambda g, x: aten.gelu_backward.default(g, x, approximate="tanh"),
    "silu": aten.silu_backward.default,
    "sigmoid": aten.sigmoid_backward.default,
    "tanh": aten.tanh_backward.default,
    "threshold": lambda g, x: aten.threshold_backward.default(g, x, 0),
    "elu": lambda g, x: aten.elu_backward.default(g, 1.5, 0.7, 1.2, False, x),
    "elu_of_result": lambda g, x: aten.elu_backward.default(g, 1.5, 0.7, 1.2, True, x),
    "leaky_relu": lambda g, x: aten.leaky_relu_backward.default(g, x, 0.2, False),
    "hardtanh": lambda g, x: aten.hardtanh_backward.default(g, x, -2, 1.5),
    "hardsigmoid": aten.hardsigmoid_backward.default,
    "hardswish": aten.hardswish_backward.default,
    "softplus": lambda g, x: aten.softplus_backward.default(g, x, 2, 10),
    "mish": aten.mish_backward.default,
}


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float64), ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations(name, dtype):
    function = FUNCTIONS[name]
    for shape in ((), (0,), (3, 40)):
        check(function, example(shape, dtype), terms=2, ulps=8, decompose=False)
    # Eager's vectorised gelu gives NaN for infinity.
    edges = torch.tensor([e for e in EDGES if name != "gelu" or e != math.inf], dtype=dtype)
    check(function, edges, terms=2, ulps=8, decompose=False)


def test_gelu_of_infinity_is_infinity():
    graph = capture(torch.nn.functional.gelu, torch.tensor([math.inf]))
    assert execute(graph, [torch.tensor([math.inf])])[0] == math.inf


def clip(x):
    return aten.hardtanh.default(x, -2, 3)


def drop_small(x):
    return aten.threshold.default(x, 1, 9)


@pytest.mark.parametrize("function", [aten.relu.default, clip, drop_small])
def test_activations_of_integers(function):
    check(function, example((30,), torch.int64), decompose=False)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float64), ids=str)
@pytest.mark.parametrize("name", BACKWARD)
def test_gradients(name, dtype):
    if name == "hardsigmoid" and dtype == torch.float64:
        pytest.skip("eager multiplies by 1/6 rounded to f32")
    function = BACKWARD[name]
    check(function, example((3, 40), dtype), example((3, 40), dtype, 1), terms=2, ulps=8, decompose=False)
    finite = torch.tensor([e for e in EDGES if math.isfinite(e)], dtype=dtype)
    check(function, torch.ones_like(finite), finite, terms=2, ulps=8, decompose=False)


@pytest.mark.parametrize("eps", [None, 0.1])
def test_gradient_of_logit(eps):
    x = torch.tensor([0.0, 0.05, 0.3, 0.7, 0.99, 1.0, 1.5, -1.0])
    check(lambda g, x: aten.logit_backward.default(g, x, eps), torch.randn(8), x, decompose=False)


def test_slope_by_channel():
    check(torch.prelu, example((2, 3, 4), torch.float32), torch.rand(3))
    check(aten._prelu_kernel.default, example((2, 3), torch.float32), torch.rand(1, 3), decompose=False)
