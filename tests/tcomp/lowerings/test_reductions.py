"""Reductions against eager."""

import math

import pytest
import torch

from tcomp.ir.dtypes import f32
from tests.lowering_support import capture, check, execute, find_mismatch
from tests.tcomp.lowerings.test_pointwise import example

aten = torch.ops.aten
NAN, INF = math.nan, math.inf
DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
DIMS = (None, 0, -1, (0, 2), (0, 1, 2))


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums(dtype, dim, keepdim):
    if dim is None:
        check(torch.sum, example((2, 3, 4), dtype), terms=24)
    else:
        check(lambda x: x.sum(dim, keepdim), example((2, 3, 4), dtype), terms=24)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float64), ids=str)
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_means(dtype, dim, keepdim):
    for decompose in (True, False):
        check(lambda x: x.mean(dim, keepdim), example((2, 3, 4), dtype), terms=24, decompose=decompose)


def test_sums_to_another_type():
    check(lambda x: x.sum(0, dtype=torch.float64), example((3, 4), torch.float32), terms=3)
    check(lambda x: x.sum(dtype=torch.float32), example((3, 4), torch.int64), terms=12)
    check(lambda x: x.mean(0, dtype=torch.float64), example((3, 4), torch.float32), terms=3)
    check(lambda x: x.sum(0, dtype=torch.float32), example((3, 4), torch.bfloat16), terms=3)


def test_narrow_floats_are_summed_in_f32():
    cascade = check(lambda x: x.sum(0), torch.full((4096,), 0.01, dtype=torch.bfloat16), terms=1)
    assert next(cascade.einsums()).dtype == f32


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64, torch.int64, torch.bool), ids=str)
def test_products(dtype):
    check(torch.prod, example((2, 3), dtype), terms=6)
    check(lambda x: x.prod(1), example((2, 3), dtype), terms=3)
    check(lambda x: x.prod(0, keepdim=True), example((2, 3), dtype), terms=2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["amax", "amin"])
def test_extrema(name, dtype):
    function = getattr(torch, name)
    check(lambda x: function(x), example((2, 3, 4), dtype))
    check(lambda x: function(x, 1), example((2, 3, 4), dtype))
    check(lambda x: function(x, (0, 2), True), example((2, 3, 4), dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["max", "min"])
def test_extrema_with_positions(name, dtype):
    function = getattr(torch, name)
    check(lambda x: function(x, 1), example((2, 30, 4), dtype))
    check(lambda x: function(x, -1, keepdim=True), example((2, 3, 4), dtype))
    check(lambda x: function(x), example((2, 3, 4), dtype), decompose=False)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.int64, torch.uint8), ids=str)
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_of_extrema(name, dtype):
    function = getattr(torch, name)
    x = example((3, 4, 5), dtype)
    check(function, x)
    check(lambda x: function(x, 1), x)
    check(lambda x: function(x, -1, keepdim=True), x)
    check(lambda x: function(x, keepdim=True), x)


def test_nan_wins_and_the_first_of_equals():
    x = torch.tensor([[1.0, NAN, 3.0, NAN], [2.0, 5.0, 5.0, 1.0], [INF, -INF, INF, -INF], [-INF, -INF, -INF, -INF]])
    for function in (torch.argmax, torch.argmin):
        check(_along(function, 1), x)
    for function in (torch.max, torch.min, torch.amax, torch.amin):
        check(_along(function, 1), x)
    check(torch.aminmax, x, decompose=False)


def _along(function, dim):
    def apply(x):
        return function(x, dim)

    return apply


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("function", [torch.any, torch.all], ids=["any", "all"])
def test_logic_over_elements(function, dtype):
    for decompose in (True, False):
        check(function, example((2, 3, 4), dtype), decompose=decompose)
        check(_along(function, 1), example((2, 3, 4), dtype), decompose=decompose)
        check(lambda x: function(x, (0, 2), keepdim=True), example((2, 3, 4), dtype), decompose=decompose)
    check(function, torch.tensor([NAN, 1.0]))


def test_counting():
    for dtype in (torch.float32, torch.int64, torch.bool):
        check(lambda x: aten.count_nonzero.default(x), example((3, 4), dtype), decompose=False)
        check(lambda x: aten.count_nonzero.dim_IntList(x, [0]), example((3, 4), dtype), decompose=False)


SPREADS = {"var": torch.var, "std": torch.std, "var_mean": torch.var_mean, "std_mean": torch.std_mean}


@pytest.mark.parametrize("decompose", [True, False], ids=["core", "kept"])
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float64), ids=str)
@pytest.mark.parametrize("name", SPREADS)
def test_spreads(name, dtype, decompose):
    function = SPREADS[name]
    x = example((3, 4, 5), dtype)
    check(lambda x: function(x, None, correction=1), x, terms=60, decompose=decompose)
    check(lambda x: function(x, (0, 2), correction=0), x, terms=15, decompose=decompose)
    check(lambda x: function(x, -1, correction=2, keepdim=True), x, terms=5, decompose=decompose)


def test_spread_of_too_few():
    check(lambda x: torch.var(x, 0), torch.randn(1, 3))
    check(lambda x: torch.std(x, 0, correction=3), torch.randn(2, 3))
    check(lambda x: torch.var(x, 0), torch.randn(0, 3))


def test_variance_far_from_zero_is_as_accurate_as_eager():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(3)) + 1000
    graph = capture(lambda x: torch.var(x), x)
    want = x.double().var().item()
    ours, eager = abs(execute(graph, [x])[0] - want), abs(x.var().item() - want)
    assert ours <= 2 * eager + 1e-6 * want


@pytest.mark.parametrize("order", [2, 1, 0, INF, -INF, 3, 2.5, -1])
def test_norms(order):
    for dtype in (torch.float32, torch.bfloat16):
        check(lambda x: torch.linalg.vector_norm(x, order), example((3, 4), dtype), terms=12, ulps=8, decompose=False)
        check(lambda x: torch.linalg.vector_norm(x, order, 1, True), example((3, 4), dtype), terms=4, ulps=8, decompose=False)


def test_log_of_sums():
    x = torch.tensor([[1.0, 2.0, 1000.0], [-INF, -INF, -INF], [INF, 0.0, 1.0], [NAN, 0.0, 1.0], [-INF, 0.0, 1.0]])
    for decompose in (True, False):
        check(lambda x: x.logsumexp(1), x, terms=3, decompose=decompose)
        check(lambda x: x.logsumexp((0, 1), True), x[:1].bfloat16(), terms=3, decompose=decompose)


def test_reductions_of_nothing():
    check(lambda x: x.sum(), torch.randn(0))
    check(lambda x: x.sum(0), torch.randn(0, 3))
    check(lambda x: x.prod(), torch.randn(0))
    check(lambda x: x.mean(), torch.randn(0))
    check(lambda x: x.any(), torch.randn(0) > 0)
    check(lambda x: x.all(), torch.randn(0) > 0)
    check(lambda x: x.amax(1), torch.randn(0, 3))
    check(lambda x: x.max(1), torch.randn(0, 3))


def test_reductions_of_one_element_without_dimensions():
    x = torch.tensor(2.5)
    for function in (torch.sum, torch.mean, torch.amax, torch.argmax, torch.any, torch.var_mean):
        check(function, x)
    check(lambda x: torch.logsumexp(x, 0), x, decompose=False)
    for function in (torch.sum, torch.max, torch.argmin, torch.prod):
        check(_along(function, 0), x)


def test_reductions_of_symbolic_sizes_serve_other_sizes():
    def function(x):
        return x.sum(0), x.mean(-1), x.var(1), x.argmax(), x.amax((0, 1), keepdim=True)

    graph = capture(function, torch.randn(3, 5), dynamic=True)
    other = torch.randn(4, 7)
    for g, w in zip(execute(graph, [other]), function(other), strict=True):
        assert find_mismatch(g, w, terms=28) is None
