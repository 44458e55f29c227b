"""Softmax, its logarithm and their gradients against eager."""

import math

import pytest
import torch

from tests.lowering_support import capture, check, execute, find_mismatch
from tests.tcomp.lowerings.test_pointwise import example

aten = torch.ops.aten
FLOATS = (torch.float32, torch.bfloat16, torch.float64)
FUNCTIONS = [torch.softmax, torch.log_softmax]
INF = math.inf


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_softmax(function, dim, dtype):
    check(lambda x: function(x, dim), example((3, 4, 5), dtype) * 5, terms=5)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_softmax_of_extremes(function):
    rows = [[1e4, -1e4, 0.0], [-INF, 0.0, -INF], [-INF, -INF, -INF], [INF, 0.0, 1.0], [math.nan, 0.0, 1.0]]
    check(lambda x: function(x, 1), torch.tensor(rows), terms=3)
    check(lambda x: function(x, 0), torch.tensor(2.0))
    check(lambda x: function(x, 1), torch.randn(3, 0))
    check(lambda x: function(x, 1), torch.randn(3, 1))


def test_softmax_to_another_type():
    check(lambda x: torch.softmax(x, 1, dtype=torch.float32), example((3, 4), torch.bfloat16), terms=4)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("dim", [0, -1])
def test_gradients(dim, dtype):
    grad, x = example((3, 4), dtype), example((3, 4), dtype, 1)
    soft, log_soft = aten._softmax_backward_data.default, aten._log_softmax_backward_data.default
    check(lambda g, y: soft(g, y, dim, dtype), grad, x.softmax(dim), terms=4, decompose=False)
    check(lambda g, y: log_soft(g, y, dim, dtype), grad, x.log_softmax(dim), terms=4, decompose=False)


def test_softmax_is_four_einsums():
    cascade = check(lambda x: x.softmax(-1), torch.randn(4, 6), terms=6)
    assert [e.reduce for e in cascade.einsums()] == ["max", None, "sum", None]


def test_softmax_of_symbolic_sizes_serves_other_sizes():
    graph = capture(lambda x: x.softmax(-1), torch.randn(4, 6), dynamic=True)
    other = torch.randn(3, 9)
    assert find_mismatch(execute(graph, [other])[0], other.softmax(-1), terms=9) is None
