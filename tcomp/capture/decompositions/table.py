"""Which ATen operators reach the compiler, one table for both ways in: `tcomp.capture.capture` and `tcomp.module.dynamo`.

The base is PyTorch's core ATen set. Kept whole although PyTorch would take them apart: operators with a lowering of their own
(`silu`; `linspace`, which PyTorch's decomposition rounds otherwise for integers; `eye`, for which it asks for an unsigned arange
that PyTorch itself does not serve), index maps that PyTorch spells as gathers
(`select_scatter`, `roll`), and random operators, which must draw what eager draws. Taken apart although core ATen keeps them:
batch normalisation with batch statistics, and the fused attentions with their gradients (PyTorch's decomposition, for CPUs, is for
inference only: it returns no sums for the gradient). Frequent views are spelled without the detour over `torch._refs`, which
costs as much as the rest of the capture.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._ops import OpOverload

from tcomp.capture.decompositions.attention import FUSED_ATTENTIONS, widen
from tcomp.capture.decompositions.checked import checked
from tcomp.capture.decompositions.grouped import GROUPED
from tcomp.capture.decompositions.laid_out import laid_out
from tcomp.capture.decompositions.layers import LAYERS
from tcomp.capture.decompositions.losses import LOSSES
from tcomp.capture.decompositions.special import SPECIAL
from tcomp.capture.decompositions.typed import typed

aten = torch.ops.aten
prims = torch.ops.prims

Decomposition = Callable[..., Any]


@functools.cache
def decompositions() -> Mapping[OpOverload, Decomposition]:
    """Return the table: operator overload to the function that spells it in other operators, or returns NotImplemented."""
    base: Any = core_aten_decompositions()
    table: dict[Any, Decomposition] = {
        op: function for op, function in base.items() if isinstance(op, OpOverload) and op.namespace == "aten"
    }
    for op in list(table):
        if op in _KEPT or _draws_itself(op):
            del table[op]
    table.update(get_decompositions(_TAKEN_APART))
    table.update(_SPELLED)
    table.update(LOSSES)
    table.update(checked(table))
    table.update(typed(table))
    table.update(FUSED_ATTENTIONS)
    table.update(GROUPED)
    table.update(LAYERS)
    table.update(SPECIAL)
    table.update(laid_out(table))
    return MappingProxyType(table)


def _draws_itself(op: OpOverload) -> bool:
    # Composite operators tagged random (attention with dropout, recurrent layers) only call others that draw.
    return (
        torch.Tag.nondeterministic_seeded in op.tags
        and not op.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
        and op not in _DRAW_BY_OTHERS
    )


_DRAW_BY_OTHERS = frozenset({aten._scaled_dot_product_flash_attention_for_cpu.default})

_KEPT = frozenset(
    {
        aten.silu.default,
        aten.silu_.default,
        aten.eye.default,
        aten.eye.m,
        aten.select_scatter.default,
        aten.roll.default,
        aten.im2col.default,
        aten.linspace.default,
        aten.col2im.default,
    }
)

_TAKEN_APART: Sequence[OpOverload] = (
    aten._native_batch_norm_legit.no_stats,
    aten._native_batch_norm_legit_functional.default,
    aten.tril_indices.default,
    aten.triu_indices.default,
)


def _t(x: Tensor) -> Any:
    return aten.permute.default(x, [1, 0]) if x.dim() == 2 else aten.alias.default(x)


def _transpose(x: Tensor, first: int, second: int) -> Any:
    rank = x.dim()
    order = list(range(rank))
    if rank:
        order[first % rank], order[second % rank] = second % rank, first % rank
    return aten.permute.default(x, order)


def _squeeze(x: Tensor) -> Any:
    return aten.squeeze.dims(x, [dim for dim, size in enumerate(x.shape) if size == 1])


def _squeeze_dim(x: Tensor, dim: int) -> Any:
    return aten.squeeze.dims(x, [dim])


def _detach(x: Tensor) -> Any:
    return aten.alias.default(x)


def _view(x: Tensor, size: Sequence[int]) -> Any:
    return aten.view.default(x, size)


def _reshape_alias(x: Tensor, size: Sequence[int], stride: Sequence[int]) -> Any:
    return aten.view.default(x, size)


def _split(x: Tensor, size: int, dim: int = 0) -> Any:
    extent = x.shape[dim]
    # A split of size 0 is legal for an extent of 0 and gives one empty part.
    count = max((extent + size - 1) // size, 1) if size else 1
    sizes = [size] * (count - 1) + [extent - size * (count - 1)]
    return aten.split_with_sizes.default(x, sizes, dim)


def _unbind(x: Tensor, dim: int = 0) -> Any:
    return [aten.select.int(x, dim, index) for index in range(x.shape[dim])]


def _masked_fill(x: Tensor, mask: Tensor, value: float) -> Any:
    filled = aten.full.default([], value, dtype=x.dtype, layout=torch.strided, device=x.device, pin_memory=False)
    return aten.where.self(mask, filled, x)


def _convert_element_type(x: Tensor, dtype: torch.dtype) -> Any:
    return aten._to_copy.default(x, dtype=dtype)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Spell the fused CPU attention: PyTorch's own way, but with its strides and the sums its gradient needs."""
    heads = query.shape[1]
    out, _ = aten._scaled_dot_product_attention_math.default(
        *(query, key, value, attn_mask, dropout_p, is_causal),
        scale=scale,
        enable_gqa=heads != key.shape[1],
    )
    order = sorted(range(4), key=query.stride, reverse=True)
    out = out.permute(order).contiguous().permute([order.index(dim) for dim in range(4)])
    return out, _scores(query, _repeat(key, heads), is_causal, attn_mask, scale).logsumexp(-1)


def _attention_backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    dropout_p: float,
    is_causal: bool,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spell the gradient of _attention: with P the probabilities, dS = P * (dO @ V.T - rowsum(dO * O))."""
    heads = query.shape[1]
    grad, keys, values = widen(grad_out), _repeat(key, heads), _repeat(value, heads)
    # A row with every score masked has the sum -inf and probabilities of 0.
    total = logsumexp.masked_fill(logsumexp == -math.inf, 0.0).unsqueeze(-1)
    probabilities = (_scores(query, keys, is_causal, attn_mask, scale) - total).exp()
    row = (grad * widen(out)).sum(-1, keepdim=True)
    factor = _scale(query, scale)
    grad_scores = probabilities * (grad @ widen(values).transpose(-1, -2) - row) * factor
    grad_query = grad_scores @ widen(keys)
    grad_key = _sum_repeats(grad_scores.transpose(-1, -2) @ widen(query), key)
    grad_value = _sum_repeats(probabilities.transpose(-1, -2) @ grad, value)
    return grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value.to(value.dtype)


def _scores(query: Tensor, key: Tensor, is_causal: bool, mask: Tensor | None, scale: float | None) -> Tensor:
    scores = (widen(query) @ widen(key).transpose(-1, -2)) * _scale(query, scale)
    if is_causal:
        rows = torch.arange(query.shape[2], device=query.device)[:, None]
        columns = torch.arange(key.shape[2], device=query.device)
        scores = scores.masked_fill(columns > rows, -math.inf)
    return scores if mask is None else scores + widen(mask)


def _scale(query: Tensor, scale: float | None) -> float:
    return 1.0 / math.sqrt(query.shape[3]) if scale is None else scale


def _repeat(x: Tensor, heads: int) -> Tensor:
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def _sum_repeats(grad: Tensor, x: Tensor) -> Tensor:
    return grad if grad.shape[1] == x.shape[1] else grad.reshape(x.shape[0], x.shape[1], -1, *x.shape[2:]).sum(2)


_SPELLED: Mapping[OpOverload, Decomposition] = {
    aten.t.default: _t,
    aten.transpose.int: _transpose,
    aten.squeeze.default: _squeeze,
    aten.squeeze.dim: _squeeze_dim,
    aten.detach.default: _detach,
    aten._unsafe_view.default: _view,
    aten._reshape_alias.default: _reshape_alias,
    aten.split.Tensor: _split,
    aten.unbind.int: _unbind,
    aten.masked_fill.Scalar: _masked_fill,
    aten._scaled_dot_product_flash_attention_for_cpu.default: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _attention_backward,
    prims.convert_element_type.default: _convert_element_type,
}
