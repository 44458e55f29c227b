"""Scatters and replaced parts against eager."""

import pytest
import torch

from tcomp.ir.errors import Unsupported
from tcomp.stages.lower_graph import lower_graph
from tests.lowering_support import capture, check
from tests.tcomp.lowerings.test_indexing import INDICES, signed, unsigned

aten = torch.ops.aten
DTYPES = [torch.float32, torch.bfloat16, torch.int64]


def distinct(dim, *shape):
    """Indices of which no two in a row are equal, so that the result does not depend on an order."""
    return torch.argsort(torch.rand(shape), dim)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("indices", INDICES.values(), ids=INDICES.keys())
def test_index_put_accumulates(indices, dtype):
    torch.manual_seed(0)
    x = torch.randint(-9, 9, (4, 5, 6)).to(dtype)
    values = torch.randint(-9, 9, aten.index.Tensor(x, indices).shape).to(dtype)
    check(lambda x, i, v: aten.index_put(x, i, v, True), x, indices, values)


def test_index_put_stores():
    x = torch.randn(4, 5, 6)
    check(lambda x, i, v: aten.index_put(x, [i], v), x, torch.tensor([0, -1, 2]), torch.randn(3, 5, 6))
    check(lambda x, i, v: aten.index_put(x, [None, None, i], v), x, torch.tensor([0, -1, 2]), torch.randn(5, 3))
    check(lambda x, i, v: aten.index_put(x, [i, i], v), x, torch.tensor([0, 1]), torch.tensor(3.0))
    check(lambda x, i, v: aten.index_put(x, [i], v, True), x[0, 0] > 0, torch.tensor([0, 1]), torch.tensor(True))


def test_the_last_of_several_values_stays():
    x, values = torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])
    check(lambda x, i, v: aten.index_put(x, [i], v), x, torch.tensor([1, 0, 1]), values)


@pytest.mark.parametrize("accumulate", [False, True])
def test_one_value_under_a_mask(accumulate):
    torch.manual_seed(0)
    x = torch.randn(4, 5, 6)

    def put(x, indices, value):
        return aten.index_put(x, indices, value, accumulate)

    check(put, x, [x > 0], torch.tensor(2.0))
    check(put, x, [x[..., 0] > 0], torch.randn(6))
    check(put, x, [x[..., 0] > 0], torch.randn(1, 6))
    check(put, x, [None, x[0] > 0], torch.randn(4, 1))
    check(put, x, [None, x[0, :, 0] > 0], torch.randn(4, 1, 6))
    check(put, x > 0, [x > 1], torch.tensor(True))


def test_many_values_under_a_mask_are_refused():
    x = torch.randn(4, 5)
    graph = capture(lambda x, m, v: aten.index_put(x, [m], v), x, x[:, 0] > 9, torch.randn(2, 5))
    with pytest.raises(Unsupported, match="as many as data says"):
        lower_graph(graph)


def test_put():
    x = torch.randn(4, 5)
    places = distinct(0, 20)[:6].view(2, 3) - 20
    check(lambda x, i, s: aten.put(x, i, s), x, places, torch.randn(2, 3))
    check(lambda x, i, s: aten.put(x, i, s), x, places, torch.randn(6))
    check(lambda x, i, s: aten.put(x, i, s, True), x, signed(20, 6), torch.randn(2, 3))
    check(lambda x, i, s: aten.put(x, i, s), torch.tensor(1.0), torch.tensor([0]), torch.tensor([2.0]))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scatter(dim):
    torch.manual_seed(0)
    x, source = torch.randn(4, 5, 6), torch.randn(4, 5, 6)
    check(lambda x, i, s: aten.scatter.src(x, dim, i, s), x, distinct(dim, 4, 5, 6), source)
    short = distinct(dim, 4, 5, 6)[:2, :3, :4].clamp(max=3)
    check(lambda x, i, s: aten.scatter_add(x, dim, i, s), x, short, source, terms=6)
    check(lambda x, i: aten.scatter.value(x, dim, i, 2.5), x, short)


@pytest.mark.parametrize("reduce", ["add", "multiply"])
def test_scatter_with_the_older_reductions(reduce):
    torch.manual_seed(0)
    x, source, index = torch.randn(4, 5), torch.randn(4, 5), unsigned(4, 3, 4)
    check(lambda x, i: aten.scatter.value_reduce(x, 0, i, 2.5, reduce=reduce), x, index, terms=4)
    check(lambda x, i, s: aten.scatter.reduce(x, 0, i, s, reduce=reduce), x, index, source, terms=4)


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scatter_reduce(dtype, reduce, include_self):
    torch.manual_seed(0)
    x, source = torch.randint(-9, 9, (4, 5)).to(dtype), torch.randint(-9, 9, (4, 5)).to(dtype)
    index = unsigned(4, 4, 3)

    def scatter(x, i, s):
        return aten.scatter_reduce.two(x, 0, i, s, reduce, include_self=include_self)

    check(scatter, x, index, source)
    check(scatter, x[:, 0], index[:, 0], source[:, 0])
    check(scatter, x[0, 0], torch.tensor(0), source[0, 0])
    if reduce != "sum":

        def fold(x, i, s):
            return aten.index_reduce(x, 1, i, s, reduce, include_self=include_self)

        check(fold, x, torch.tensor([1, 3, 1]), source[:, :3])


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "prod", "amax", "amin"])
def test_bools_are_added_as_or_and_multiplied_as_and(reduce, include_self):
    torch.manual_seed(0)
    x, source = torch.randn(4, 5) > 0, torch.randn(4, 5) > 0

    def scatter(x, i, s):
        return aten.scatter_reduce.two(x, 0, i, s, reduce, include_self=include_self)

    check(scatter, x, unsigned(4, 4, 3), source)
    check(lambda x, i, s: aten.scatter_add(x, 0, i, s), x, unsigned(4, 4, 3), source)
    check(lambda x, i, s: aten.scatter.reduce(x, 0, i, s, reduce="add"), x, unsigned(4, 4, 3), source)


def test_zero_dimensional_scatters():
    scalar, row = torch.tensor(3.0), torch.randn(3)
    check(lambda x, i, s: aten.scatter_add(x, 0, i, s), scalar, torch.tensor(0), torch.tensor(2.0))
    check(lambda x, i, s: aten.scatter_add(x, 0, i, s), row, torch.tensor(1), torch.tensor(2.0))
    check(lambda x, i: aten.scatter.value(x, 0, i, 2), torch.tensor([True, False]), torch.tensor([1]))


@pytest.mark.parametrize(("dim", "index"), [(0, 1), (1, -1), (2, 3)])
def test_select_scatter(dim, index):
    x = torch.randn(4, 5, 6)
    source = torch.randn_like(x.select(dim, index))
    check(lambda x, s: aten.select_scatter(x, s, dim, index), x, source, decompose=False)


SLICES = [(0, 1, 3, 1), (1, None, -1, 2), (2, -4, 100, 3), (1, 1, 1, 1), (0, None, None, 1), (0, 9, 12, 1), (2, -9, 2, 1)]


@pytest.mark.parametrize(("dim", "start", "end", "step"), SLICES)
def test_slice_scatter(dim, start, end, step):
    x = torch.randn(4, 5, 6)
    source = torch.randn_like(torch.ops.aten.slice(x, dim, start, end, step))
    check(lambda x, s: aten.slice_scatter(x, s, dim, start, end, step), x, source, decompose=False)


@pytest.mark.parametrize("offset", [-2, 0, 1, 4])
@pytest.mark.parametrize(("first", "second"), [(0, 1), (2, 0), (1, 2)])
def test_diagonal_scatter(offset, first, second):
    x = torch.randn(4, 5, 6)
    source = torch.randn_like(x.diagonal(offset, first, second))
    check(lambda x, s: aten.diagonal_scatter(x, s, offset, first, second), x, source, decompose=False)


def test_as_strided_scatter():
    x, source = torch.randn(4, 5, 6), torch.randn(2, 3)
    check(lambda x, s: aten.as_strided_scatter(x, s, (2, 3), (30, 2), 1), x, source)
    check(lambda x, s: aten.as_strided_scatter(x, s, (2, 3), (30, 2)), x, source)
    check(lambda x, s: aten.as_strided_scatter(x, s, (3,), (1,)), x, source[0])
    check(lambda x, s: aten.as_strided_scatter(x, s, (3,), (1,), 5), x, source[0])
    check(lambda x, s: aten.as_strided_scatter(x, s, (), (), 5), x, source[0, 0])
    graph = capture(lambda x, s: aten.as_strided_scatter(x, s, (2, 3), (1, 2)), x.transpose(0, 1), source)
    with pytest.raises(Unsupported, match="not contiguous"):
        lower_graph(graph)


def test_masked_scatter():
    torch.manual_seed(0)
    x, source = torch.randn(3, 4), torch.randn(20)
    check(lambda x, m, s: aten.masked_scatter(x, m, s), x, x > 0, source)
    check(lambda x, m, s: aten.masked_scatter(x, m, s), x, x[0] > 0, source)
    check(lambda x, m, s: aten.masked_scatter(x, m, s), x, torch.zeros(3, 4, dtype=torch.bool), source)
    check(lambda x, m, s: aten.masked_scatter(x, m, s), torch.tensor(1.0), torch.tensor(True), torch.randn(2))
