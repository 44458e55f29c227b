"""Losses: sums of the negative log-likelihood in a type that holds them, its gradient without a scatter; shapes as PyTorch's are.

    grad[n, c] = select(c == target[n], -grad_output[n] * weight[c] / total, 0)

A comparison of positions fuses with what follows, which a scatter does not: nothing of the size of the logits is stored for it. Targets
outside the classes were refused by the loss itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._decomp.decompositions import multilabel_margin_loss_forward, nll_loss2d_forward, nll_loss_forward
from torch._ops import OpOverload
from torch.fx import GraphModule

aten = torch.ops.aten

NONE = 0
"""The reduction that gives the loss of each row."""

MEAN = 1
"""The reduction that divides by the sum of the weights."""


def _nll_loss_backward(
    grad_output: Tensor,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: int,
    total_weight: Tensor,
) -> Tensor:
    classes = 0 if x.dim() < 2 else 1
    if x.dim() == 1 and target.dim():
        target = target.select(0, 0)
    wanted = target.unsqueeze(classes)
    trailing = [1] * (x.dim() - classes - 1)
    gradient = grad_output / total_weight if reduction == MEAN else grad_output
    if x.dim() > gradient.dim() > 0:
        gradient = gradient.unsqueeze(classes)
    if weight is not None:
        gradient = gradient * weight.view(-1, *trailing)
    here = torch.arange(x.shape[classes], device=x.device).view(-1, *trailing) == wanted
    if ignore_index >= 0:
        here = here & (wanted != ignore_index)
    return torch.where(here, -gradient, torch.zeros((), dtype=x.dtype, device=x.device))


def _nll_loss_forward(function: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's own, which sums losses and weights in f32 where f16 would overflow from 65,520 rows on."""

    def forward(x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int) -> tuple[Tensor, Tensor]:
        if x.dtype != torch.float16:
            found: tuple[Tensor, Tensor] = function(x, target, weight, reduction, ignore_index)
            return found
        loss, total = function(x.float(), target, None if weight is None else weight.float(), reduction, ignore_index)
        return loss.to(x.dtype), total.to(x.dtype)

    return forward


def _multilabel_margin_loss_forward(x: Tensor, target: Tensor, reduction: int) -> tuple[Tensor, Tensor]:
    """PyTorch's own, which gives the loss of a vector that is not reduced a dimension that the operator's has not."""
    loss, is_target = multilabel_margin_loss_forward(x, target, reduction)
    return loss.reshape(loss.shape[: x.dim() - 1] if reduction == NONE else ()), is_target


def correct_losses(gm: GraphModule) -> None:
    """Give losses in a graph of Dynamo's eager's shapes.

    Where gradients are taken, PyTorch takes this loss apart before a table of decompositions is asked.
    """
    losses = [node for node in gm.graph.nodes if node.op == "call_function" and node.target in _MISSHAPEN]
    for loss in losses:
        x = loss.args[0] if loss.args else loss.kwargs.get("input", loss.kwargs.get("self"))
        with gm.graph.inserting_after(loss):
            shaped = gm.graph.call_function(_drop_dimension, (loss, x))
        loss.replace_all_uses_with(shaped, delete_user_cb=lambda user, shaped=shaped: user is not shaped)
    if losses:
        gm.recompile()


def _drop_dimension(loss: Tensor, x: Tensor) -> Tensor:
    return loss.reshape(()) if x.dim() < 2 else loss


_MISSHAPEN = (
    F.multilabel_margin_loss,
    torch._C._nn.multilabel_margin_loss,
    aten.multilabel_margin_loss,
    aten.multilabel_margin_loss.default,
)

LOSSES: Mapping[OpOverload, Callable[..., Any]] = {
    aten.multilabel_margin_loss_forward.default: _multilabel_margin_loss_forward,
    aten.nll_loss_forward.default: _nll_loss_forward(nll_loss_forward),
    aten.nll_loss2d_forward.default: _nll_loss_forward(nll_loss2d_forward),
    aten.nll_loss_backward.default: _nll_loss_backward,
    aten.nll_loss2d_backward.default: _nll_loss_backward,
}
