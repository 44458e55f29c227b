"""Sorting and order statistics against eager."""

from math import inf, nan

import pytest
import torch

from tcomp.ir.errors import Unsupported
from tcomp.stages.lower_graph import lower_graph
from tests.lowering_support import capture, check

aten = torch.ops.aten

SPECIAL = torch.tensor([[1.0, nan, -inf, 2, nan, inf], [0.0, -0.0, 1, 1, 0, 3]])


def make_inputs():
    torch.manual_seed(0)
    x, ties = torch.randn(3, 4, 5), torch.randint(0, 4, (3, 4, 5))
    return [x, ties, x.bfloat16(), ties > 1, ties.to(torch.uint8)]


@pytest.mark.parametrize("x", make_inputs(), ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable(x, dim, descending):
    check(lambda x: aten.sort.stable(x, stable=True, dim=dim, descending=descending), x)


@pytest.mark.parametrize("descending", [False, True])
def test_sort_of_special_values_and_sizes(descending):
    check(lambda x: aten.sort.stable(x, stable=True, dim=-1, descending=descending), SPECIAL)
    for x in (torch.tensor(3.0), torch.randn(0), torch.randn(2, 1), torch.randn(0, 3)):
        check(lambda x: aten.sort.default(x, -1, descending), x)
    check(lambda x: aten.argsort.default(x, 1, descending), torch.randn(3, 4), decompose=False)


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("largest", [True, False])
def test_topk(k, dim, largest):
    torch.manual_seed(0)
    check(lambda x: aten.topk(x, k, dim, largest), torch.randn(3, 4, 5))


def test_topk_of_special_values():
    check(lambda x: aten.topk(x, 4)[0], SPECIAL)
    check(lambda x: aten.topk(x, 1), torch.tensor(3.0))


@pytest.mark.parametrize("keepdim", [False, True])
def test_order_statistics(keepdim):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5)
    check(lambda x: aten.kthvalue(x, 2, 1, keepdim), x)
    check(lambda x: aten.median.dim(x, 1, keepdim), x)
    check(lambda x: aten.nanmedian.dim(x, 0, keepdim), x)
    check(lambda x: aten.median.dim(x, 1, keepdim)[0], SPECIAL)
    check(lambda x: aten.nanmedian.dim(x, 1, keepdim)[0], SPECIAL)
    check(lambda x: aten.median.dim(x, 0, keepdim), torch.tensor(3.0))


def test_median_of_all():
    for x in (torch.randn(3, 4), SPECIAL, torch.randint(0, 9, (3, 5)), torch.tensor([nan, nan]), torch.tensor(2.0)):
        check(lambda x: aten.median(x), x)
        check(lambda x: aten.nanmedian(x), x)


def test_long_rows_are_left_to_eager():
    graph = capture(lambda x: aten.sort(x), torch.randn(2, 4097))
    with pytest.raises(Unsupported, match="rows of 4097 elements"):
        lower_graph(graph)


def test_the_median_of_nothing_is_refused():
    graph = capture(lambda x: aten.median(x), torch.randn(0))
    with pytest.raises(Unsupported, match="of nothing"):
        lower_graph(graph)
