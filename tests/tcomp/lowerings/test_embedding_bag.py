"""Bags of embeddings against eager."""

import pytest
import torch

from tcomp.ir.errors import Unsupported
from tcomp.lowerings.embedding_bag import MAX, MEAN, SUM
from tcomp.stages.lower_graph import lower_graph
from tests.lowering_support import capture, check

aten = torch.ops.aten

INDICES = torch.tensor([1, 2, 0, 2, 3, 4, 1])
OFFSETS = torch.tensor([0, 2, 2, 5])


@pytest.mark.parametrize("mode", [SUM, MEAN])
@pytest.mark.parametrize("padding", [-1, 2])
@pytest.mark.parametrize("has_end", [False, True])
@pytest.mark.parametrize("operator", [aten._embedding_bag, aten._embedding_bag_forward_only])
def test_sums_and_means(mode, padding, has_end, operator):
    torch.manual_seed(0)
    offsets = torch.cat([OFFSETS, torch.tensor([7])]) if has_end else OFFSETS

    def bags(weight, indices, offsets):
        return operator(weight, indices, offsets, False, mode, False, None, has_end, padding)[0]

    check(bags, torch.randn(5, 3), INDICES, offsets, terms=3)


def test_weights_of_samples():
    def bags(weight, indices, offsets, samples):
        return aten._embedding_bag(weight, indices, offsets, False, SUM, False, samples)[0]

    check(bags, torch.randn(5, 3), INDICES, OFFSETS, torch.randn(7), terms=3)


def test_what_the_gradient_of_a_mean_needs():
    def bags(weight, indices, offsets):
        return aten._embedding_bag(weight, indices, offsets, False, MEAN)[1:3]

    check(bags, torch.randn(5, 3), INDICES, OFFSETS)


def test_the_largest_of_a_bag_is_refused():
    graph = capture(lambda w, i, o: aten._embedding_bag(w, i, o, False, MAX)[0], torch.randn(5, 3), INDICES, OFFSETS)
    with pytest.raises(Unsupported, match="mode='max'"):
        lower_graph(graph)
