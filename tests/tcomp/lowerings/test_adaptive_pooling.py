"""Adaptive pooling and its gradients against eager."""

from math import inf

import pytest
import torch

from tcomp.ir.errors import Unsupported
from tcomp.lowerings.adaptive_pooling import Share
from tcomp.stages.lower_graph import lower_graph
from tests.lowering_support import capture, check

aten = torch.ops.aten
SIZES = [(1, 1), (3, 4), (5, 2), (11, 3), (10, 9), (12, 20)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_adaptive_avg_pool2d(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 10, 9)
    y = aten._adaptive_avg_pool2d(x, size)
    check(lambda x: aten._adaptive_avg_pool2d(x, size), x, terms=90, decompose=False)
    check(lambda g, x: aten._adaptive_avg_pool2d_backward(g, x), torch.randn_like(y), x, terms=90, decompose=False)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_adaptive_max_pool2d(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 10, 9)
    x[0, 0] = -inf
    y, indices = aten.adaptive_max_pool2d(x, size)
    check(lambda x: aten.adaptive_max_pool2d(x, size), x)
    check(lambda g, x, i: aten.adaptive_max_pool2d_backward(g, x, i), torch.randn_like(y), x, indices, terms=90)


def test_one_and_three_dimensions():
    x = torch.randn(2, 5, 6, 5)
    check(lambda x: aten._adaptive_avg_pool3d(x, (3, 4, 2)), x, terms=24)
    check(lambda x: aten.adaptive_max_pool3d(x, (3, 4, 2)), x)
    check(lambda x: aten.adaptive_avg_pool1d(x, [3]), torch.randn(2, 5, 7), terms=8)
    y, indices = aten.adaptive_max_pool3d(x, (3, 4, 2))
    gradient = torch.randn_like(y)
    check(lambda g, x: aten._adaptive_avg_pool3d_backward(g, x), gradient, x, terms=24, decompose=False)
    check(lambda g, x, i: aten.adaptive_max_pool3d_backward(g, x, i), gradient, x, indices, terms=24)


def test_bfloat16_is_rounded_once():
    check(lambda x: aten._adaptive_avg_pool2d(x, (3, 4)), torch.randn(2, 10, 9).bfloat16(), decompose=False)


@pytest.mark.parametrize(("extent", "places"), [(10, 3), (9, 4), (4, 9), (7, 7), (12, 4)])
def test_shares_seen_from_both_sides_are_the_same_pairs(extent, places):
    share = Share(extent, places)
    pairs = {(p * extent // places + k, p) for p, size in enumerate(share.sizes) for k in range(size)}
    back = share.reversed
    assert pairs == {(e, e * places // extent + k) for e, size in enumerate(back.sizes) for k in range(size)}


def test_symbolic_sizes_are_refused():
    graph = capture(lambda x: aten._adaptive_avg_pool2d(x, (3, 4)), torch.randn(2, 10, 9), dynamic=True, decompose=False)
    with pytest.raises(Unsupported, match="a pooled size is the symbolic size"):
        lower_graph(graph)
