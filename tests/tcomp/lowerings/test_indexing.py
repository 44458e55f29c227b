"""Gathers and searches against eager."""

from math import nan

import pytest
import torch
import torch.nn.functional as F

from tcomp.ir.errors import Unsupported
from tcomp.stages.lower_graph import lower_graph
from tests.lowering_support import capture, check

aten = torch.ops.aten


def signed(extent, *shape):
    """Indices into a dimension, counted from either end."""
    return torch.randint(-extent, extent, shape)


def unsigned(extent, *shape):
    return torch.randint(0, extent, shape)


def make_indices():
    torch.manual_seed(0)
    return {
        "first": [signed(4, 3)],
        "last": [None, None, signed(6, 2)],
        "middle matrix": [None, signed(5, 2, 3)],
        "two": [signed(4, 3), signed(5, 3)],
        "two adjacent at the end": [None, signed(5, 3, 1), signed(6, 2)],
        "two apart": [signed(4, 3, 1), None, signed(6, 1, 2)],
        "three": [signed(4, 2, 3, 2), signed(5, 2), signed(6, 1)],
        "scalar": [torch.tensor(-1)],
        "empty": [torch.zeros(0, dtype=torch.int64)],
        "narrow": [signed(4, 3).int()],
    }


INDICES = make_indices()


@pytest.mark.parametrize("indices", INDICES.values(), ids=INDICES.keys())
def test_index(indices):
    check(lambda x, indices: aten.index.Tensor(x, indices), torch.randn(4, 5, 6), indices)


def test_a_mask_is_refused():
    graph = capture(lambda x, m: aten._unsafe_index.Tensor(x, [m]), torch.randn(4), unsigned(3, 4), decompose=False)
    (node,) = (n for n in graph.graph.nodes if n.op == "call_function")
    mask = node.args[1][0]
    mask.meta["val"] = mask.meta["val"].to(torch.bool)
    with pytest.raises(Unsupported, match="size depends on data"):
        lower_graph(graph)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_index_select_and_gather(dim):
    torch.manual_seed(0)
    x = torch.randn(4, 5, 6)
    check(lambda x, i: aten.index_select(x, dim, i), x, torch.tensor([0, 2, 1, 3, 3]))
    check(lambda x, i: aten.gather(x, dim, i), x, unsigned(4, 3, 4, 6))


def test_zero_dimensional_gathers():
    scalar, row = torch.tensor(3.0), torch.randn(3)
    for x, index in ((scalar, torch.tensor(0)), (scalar, torch.tensor([0, 0])), (row, torch.tensor(1))):
        check(lambda x, i: aten.gather(x, 0, i), x, index)
    for x in (scalar, row):
        check(lambda x, i: aten.index_select(x, 0, i), x, torch.tensor(0))


def test_gathers_of_nothing():
    check(lambda x, i: aten.gather(x, 0, i), torch.randn(5), torch.empty(0, 3, dtype=torch.int64))
    check(lambda x, i: aten.gather(x, 0, i), torch.randn(0), torch.empty(0, dtype=torch.int64))


def test_take():
    check(lambda x, i: aten.take(x, i), torch.randn(4, 5), signed(20, 3, 2), decompose=False)
    check(lambda x, i: aten.take(x, i), torch.tensor(2.0), torch.tensor([0, -1]), decompose=False)


def test_embedding():
    table = torch.randn(7, 3)
    check(lambda w, i: aten.embedding(w, i, 2), table, unsigned(7, 2, 3))
    check(lambda w, i: aten.embedding(w, i), table.bfloat16(), unsigned(7, 4).int())


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("padding", [-1, 2])
def test_embedding_dense_backward(scale, padding):
    torch.manual_seed(0)

    def backward(gradient, indices):
        return aten.embedding_dense_backward(gradient, indices, 7, padding, scale)

    check(backward, torch.randn(2, 9, 5), unsigned(7, 2, 9), terms=18, decompose=False)


@pytest.mark.parametrize("right", [False, True])
def test_searches(right):
    torch.manual_seed(0)
    boundaries = torch.tensor([-1.0, 0, 0, 1, 2])
    values = torch.tensor([[-2.0, -1, 0], [0.5, 3, nan]])
    check(lambda v, b: aten.bucketize.Tensor(v, b, right=right), values, boundaries)
    check(lambda v, b: aten.bucketize.Tensor(v, b, right=right, out_int32=True), values, boundaries)
    check(lambda b: aten.bucketize.Scalar(0.5, b, right=right), boundaries)
    check(lambda b: aten.searchsorted.Scalar(b, 0.5, right=right), boundaries)
    rows = unsigned(9, 2, 3, 5)
    check(lambda v, b: aten.searchsorted.Tensor(b, v, right=right), unsigned(9, 2, 3, 4), rows.sort(-1)[0])

    def by_sorter(values, rows, sorter):
        return aten.searchsorted.Tensor(rows, values, side="right" if right else "left", sorter=sorter)

    check(by_sorter, unsigned(9, 2, 3, 4), rows, rows.argsort(-1))


def test_long_searches_are_left_to_eager():
    graph = capture(lambda v, b: aten.searchsorted.Tensor(b, v), torch.randn(3), torch.arange(5000.0))
    with pytest.raises(Unsupported, match="searching 5000 elements"):
        lower_graph(graph)


def test_symbolic_sizes():
    cascade = check(lambda w, i: aten.embedding(w, i), torch.randn(7, 3), unsigned(7, 2, 5), dynamic=True)
    assert cascade.symbols


def test_the_gradient_of_a_network_that_gathers():
    """Embedding, resampling, transposed convolution, joining, scanning, sorting, distances: as autograd differentiates them."""
    torch.manual_seed(0)

    def loss(parameters, indices, labels):
        table, kernel, scale = parameters
        h = F.embedding(indices, table, padding_idx=1).transpose(1, 2)[:, :, None]
        h = F.conv_transpose2d(F.interpolate(h, size=(3, 7), mode="bilinear"), kernel, stride=2, padding=1, output_padding=1)
        h = torch.cat([h, h.flip(2)], 1).cumsum(2).sort(-1)[0][..., :3]
        labelled = F.nll_loss(F.log_softmax((h * scale).sum((2, 3)), 1), labels, ignore_index=2)
        return labelled + torch.cdist(h[0].flatten(1), h[1].flatten(1)).mean()

    parameters = (torch.randn(9, 4), torch.randn(4, 6, 3, 2), torch.randn(12, 6, 3))
    labels = torch.tensor([1, 2])
    check(lambda p, i, y: torch.func.grad(loss)(p, i, y), parameters, unsigned(9, 2, 5), labels, terms=300)
