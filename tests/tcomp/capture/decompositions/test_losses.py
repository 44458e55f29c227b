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


class Spelled(nn.Module):
    """An exponential of the loss of each row, by the function or by the operator."""

    def __init__(self, by_function):
        super().__init__()
        self.by_function = by_function

    def forward(self, x, target):
        if self.by_function:
            return nn.functional.multilabel_margin_loss(x, target, reduction="none").exp()
        return torch.ops.aten.multilabel_margin_loss(x, target, 0).exp()


@pytest.mark.parametrize("by_function", [True, False])
@pytest.mark.parametrize("shape", [(10,), (3, 10)])
def test_the_margin_loss_of_a_vector_has_no_dimension_where_gradients_are_taken(shape, by_function):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, requires_grad=True)
    target = torch.randint(0, 5, shape, generator=generator)
    module = Spelled(by_function)
    want = module(x, target)
    for compiled in (tcomp.compile(module), torch.compile(module, backend="tcomp")):
        got = compiled(x, target)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(torch.autograd.grad(got.sum(), x), torch.autograd.grad(want.sum(), x, retain_graph=True))
