"""Losses whose decompositions PyTorch has in another shape or type than the operator."""

import pytest
import torch
from torch import nn

import tcomp


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(10,), (3, 10)])
def test_the_margin_loss_of_a_vector_has_no_dimension(shape, reduction):
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(shape, generator=generator), torch.randint(0, 5, shape, generator=generator)
    module = nn.MultiLabelMarginLoss(reduction=reduction)
    torch.testing.assert_close(tcomp.compile(module, (x, target))(x, target), module(x, target))
