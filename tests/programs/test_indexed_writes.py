"""Writes by index and pairs over flattened views, as models spell them, against eager: the ways of compiling, static and symbolic sizes."""

import copy

import pytest
import torch
from compiled import Function, check_same

import tcomp


def randoms(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def rows_by_range(x, y):
    rows = torch.arange(y.shape[0])
    return x.index_put((rows,), y), x.index_add(0, rows, y), x.index_copy(0, rows, y), x.scatter(0, rows[:, None].expand_as(y), y)


def one_of_each_row(x, y):
    best = x.argmax(1)
    taken, rows = x * 0, torch.arange(x.shape[0])
    taken[rows, best] = y.sum()
    taken[rows, best - 1] += 1
    return taken


def diagonals(x, y):
    rows = torch.arange(y.shape[0])
    x = x.clone()
    x[rows, rows] = y[:, 0]
    x[rows + 1, rows] -= 2.0
    return x


def every_other_row(x, y):
    rows = torch.arange(y.shape[0])
    return x.index_copy(0, 2 * rows, y), x.index_add(0, rows // 2, y), x.index_fill(0, rows, 1.5)


def groups_of_rows(x, y):
    groups = torch.arange(x.shape[0]) % 3
    ones = torch.ones(x.shape[0])
    sums = torch.zeros(3, x.shape[1]).index_add(0, groups, x)
    return sums / torch.zeros(3).index_add(0, groups, ones)[:, None], sums[groups] - x


WRITES = [rows_by_range, one_of_each_row, diagonals, every_other_row, groups_of_rows]


def cache_at(positions):
    def function(cache, new):
        at = torch.tensor(positions) if positions is not None else torch.arange(new.shape[2])
        cache = cache.clone()
        cache[:, :, at] = new
        return cache, cache.index_copy(2, at, 2 * new).sum(2), torch.scatter_add(cache, 2, at[None, None, :, None].expand_as(new), new)

    return function


def cache_by_row(cache, new):
    start = torch.arange(cache.shape[0])[:, None]
    cache = cache.clone()
    cache[start, :, start + torch.arange(new.shape[2])] = new.transpose(1, 2)
    return cache


def pairs_of_pixels(x):
    flat = (x + 1).flatten(1)
    return flat[:, :, None] - flat[:, None, :], flat[:, :, None] == flat[:, None]


def distances(x):
    points = x.flatten(2).transpose(1, 2)
    return (points[:, :, None] - points[:, None]).square().sum(-1), torch.cdist(points, points)


def turned_pairs(x):
    flat = x.permute(0, 2, 1, 3).flatten(1)
    return (flat[:, :, None] * flat[:, None, :]).sum(1), (flat[:, :, None] - flat[:, None]).amax(2)


def compile_ways(function, inputs):
    """Each way of compiling a function, whose sizes may be fixed or not."""
    yield tcomp.compile(Function(function), copy.deepcopy(inputs), fallback="error")
    yield tcomp.compile(Function(function), copy.deepcopy(inputs), dynamic=True, fallback="error")
    for dynamic in (False, True):
        torch._dynamo.reset()
        yield torch.compile(Function(function), backend="tcomp", dynamic=dynamic, fullgraph=True)


def check_ways(function, *inputs):
    want = function(*copy.deepcopy(inputs))
    with torch.no_grad():
        for compiled in compile_ways(function, inputs):
            check_same(compiled(*copy.deepcopy(inputs)), want)


@pytest.mark.parametrize("function", WRITES, ids=lambda f: f.__name__)
def test_writes_through_indices_that_the_module_makes(function):
    check_ways(function, *randoms((9, 8), (4, 8)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("positions", [[4, 5], None], ids=["some", "the first"])
def test_a_cache_of_keys(batch, positions):
    check_ways(cache_at(positions), *randoms((batch, 3, 9, 4), (batch, 3, 2, 4)))


def test_a_cache_in_which_each_row_starts_elsewhere():
    check_ways(cache_by_row, *randoms((2, 3, 9, 4), (2, 3, 2, 4)))


@pytest.mark.parametrize("function", [pairs_of_pixels, distances, turned_pairs], ids=lambda f: f.__name__)
def test_pairs_over_flattened_views(function):
    check_ways(function, *randoms((2, 3, 4, 5) if function is not pairs_of_pixels else (2, 4, 4)))


class Counting(torch.nn.Module):
    """Rows of a table by positions, of which there may be more than rows."""

    def __init__(self, shift):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(4, 2))
        self.shift = shift

    def forward(self, x):
        return torch.nn.functional.embedding(torch.arange(x.shape[0]) + self.shift, self.table).exp()


@pytest.mark.parametrize("shift", [0, 1])
def test_positions_beyond_a_table_are_an_error_for_sizes_that_are_not_known(shift):
    module = Counting(shift)
    compiled = tcomp.compile(module, (torch.zeros(3),), dynamic=True)
    with torch.no_grad():
        for rows in (2, 3, 4 - shift):
            torch.testing.assert_close(compiled(torch.zeros(rows)), module(torch.zeros(rows)))
        for rows in (5, 60, 700):
            with pytest.raises(IndexError):
                compiled(torch.zeros(rows))
