"""Pooling and its gradients against eager."""

from math import inf, nan

import pytest
import torch
import torch.nn.functional as F

from tcomp.ir.expressions import as_index
from tcomp.lowerings.windows import make_windows
from tests.lowering_support import check

aten = torch.ops.aten

WINDOWS = [
    # kernel, stride, padding, dilation, ceil_mode
    ([3, 3], [2, 2], [1, 1], [1, 1], False),
    ([2, 2], [], [0, 0], [1, 1], False),
    ([2, 3], [1, 2], [1, 0], [1, 1], True),
    ([3, 2], [3, 3], [1, 1], [1, 1], True),
    ([3, 3], [1, 1], [0, 1], [2, 1], False),
    ([3, 2], [2, 3], [1, 1], [2, 2], True),
    ([2], [3], [1], [1], True),
    ([1, 1], [1, 1], [0, 0], [1, 1], False),
]

MEANS = [(k, s, p, c) for k, s, p, d, c in WINDOWS if set(d) == {1}]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_max_pool2d(window):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 10)
    x[0, 0, :5, :5] = -inf
    x[1, 1, 3, 3] = nan
    values, indices = aten.max_pool2d_with_indices(x, *window)
    check(lambda x: aten.max_pool2d_with_indices(x, *window), x)
    kernel, stride, *rest = window
    gradient = torch.randn_like(values)

    def backward(gradient, x, indices):
        return aten.max_pool2d_with_indices_backward(gradient, x, kernel, stride, *rest, indices)

    check(backward, gradient, x, indices, terms=9)


@pytest.mark.parametrize(("kernel", "padding"), [([40, 50], [0, 0]), ([5, 3], [2, 1]), ([2, 9], [1, 2])], ids=str)
def test_windows_larger_than_the_input(kernel, padding):
    x = torch.randn(2, 3, 2, 4)
    check(lambda x: aten.max_pool2d_with_indices(x, kernel, kernel, padding, [1, 1], True), x)
    check(lambda x: aten.avg_pool2d(x, kernel, kernel, padding, True, False), x, terms=8)
    check(lambda x: aten.avg_pool2d(x, kernel, kernel, padding, True, True), x, terms=8)


def test_taps_that_reach_nothing_are_not_read():
    large, dilated = make_windows([2560, 3], [2560, 1], [0, 3], [1, 4])
    assert (large.count_taps(as_index(2)), large.count_taps(as_index("n"))) == (as_index(2), as_index(2560))
    assert [dilated.count_taps(as_index(size)) for size in (1, 2, 6)] == [as_index(1), as_index(2), as_index(3)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64, torch.uint8])
def test_max_pool_of_other_types(dtype):
    x = torch.randint(0, 50, (3, 8, 9)).to(dtype)
    check(lambda x: aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1]), x)


def test_max_pool_in_one_and_three_dimensions():
    check(lambda x: F.max_pool1d(x, 3, 2, 1), torch.randn(2, 5, 8))
    x = torch.randn(2, 5, 8, 9)
    options = ([3, 2, 2], [2, 2, 2], [1, 0, 1], [1, 1, 2], True)
    values, indices = aten.max_pool3d_with_indices(x, *options)
    check(lambda x: aten.max_pool3d_with_indices(x, *options), x)

    def backward(gradient, x, indices):
        return aten.max_pool3d_with_indices_backward(gradient, x, *options, indices)

    check(backward, torch.randn_like(values), x, indices, terms=8)


def test_values_alone_need_no_positions():
    """The values come from a reduction of their own, so that positions are dead code where nothing asks for them."""
    cascade = check(lambda x: F.max_pool2d(x, 3, 2, 1), torch.randn(1, 2, 8, 8))
    by_name = {einsum.name: einsum for einsum in cascade.einsums()}
    assert by_name[cascade.outputs[0]].reduce == "max"


@pytest.mark.parametrize("window", MEANS, ids=str)
@pytest.mark.parametrize("options", [(True, None), (False, None), (True, 5)], ids=str)
def test_avg_pool2d(window, options):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 10)
    y = aten.avg_pool2d(x, *window, *options)
    check(lambda x: aten.avg_pool2d(x, *window, *options), x, terms=9)
    check(lambda g, x: aten.avg_pool2d_backward(g, x, *window, *options), torch.randn_like(y), x, terms=9)


def test_avg_pool_in_one_and_three_dimensions():
    check(lambda x: F.avg_pool1d(x, 3, 2, 1), torch.randn(2, 5, 8), terms=3)
    check(lambda x: aten.avg_pool1d(x, [3], [2], [1], True), torch.randn(2, 5, 8), terms=3, decompose=False)
    x = torch.randn(2, 6, 9, 10)
    options = ([2, 3, 2], [2, 2, 1], [1, 1, 0], True, False, None)
    y = aten.avg_pool3d(x, *options)
    check(lambda x: aten.avg_pool3d(x, *options), x, terms=12)
    check(lambda g, x: aten.avg_pool3d_backward(g, x, *options), torch.randn_like(y), x, terms=12)


def test_means_of_other_types():
    check(lambda x: aten.avg_pool2d(x, [3, 3], [2, 2], [1, 1]), torch.randn(2, 8, 9).bfloat16())
    # The mean of integers is truncated.
    check(lambda x: aten.avg_pool2d(x, [3, 3], [2, 2], [1, 1]), torch.randint(-90, 90, (2, 8, 9)))
