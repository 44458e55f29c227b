"""The fused attentions of GPUs and their gradients, in matrix products, sums and maps.

    S = scale * Q @ K.T + bias        O = softmax(S) @ V        L = logsumexp(S)
    P = exp(S - L)                    dS = P * (dO @ V.T - rowsum(dO * O))
    dQ = scale * dS @ K               dK = scale * dS.T @ Q     dV = P.T @ dO          dbias = dS

As in the fused kernels, products of 16-bit floats are summed in f32, and probabilities are rounded to 16 bits before they are multiplied.
With dropout the operators are left whole: what they drop, only they know.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten


def _attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, is_causal: bool, scale: float | None
) -> tuple[Tensor, Tensor]:
    """The result in f32, and the logarithm of each row's sum."""
    heads = query.shape[1]
    scores = _score(query, _repeat(key, heads), bias, is_causal, scale)
    probabilities = scores.softmax(-1).to(value.dtype)
    out = _multiply(probabilities, _repeat(value, heads))
    if bias is not None:
        # A row that sees nothing gives 0.
        out = out.masked_fill((bias == -math.inf).all(-1, keepdim=True), 0.0)
    return out, scores.logsumexp(-1)


def _differentiate(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    out: Tensor,
    logsumexp: Tensor,
    is_causal: bool,
    scale: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value and bias."""
    heads, factor = query.shape[1], _scale(query, scale)
    keys, values = _repeat(key, heads), _repeat(value, heads)
    total = logsumexp.reshape(*logsumexp.shape[:2], -1, 1)[:, :, : query.shape[2]]
    total = total.masked_fill(total == -math.inf, 0.0)
    probabilities = (_score(query, keys, bias, is_causal, scale) - total).exp()
    row = (widen(grad_out) * widen(out)).sum(-1, keepdim=True)
    grad_scores = probabilities * (_multiply(grad_out, values.mT) - row)
    narrow = (grad_scores * factor).to(query.dtype)
    grad_query = _multiply(narrow, keys)
    grad_key = _sum_repeats(_multiply(narrow.mT, query), key)
    grad_value = _sum_repeats(_multiply(probabilities.to(grad_out.dtype).mT, grad_out), value)
    grad_bias = grad_scores if bias is None else grad_scores.to(bias.dtype)
    return grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value.to(value.dtype), grad_bias


def _score(query: Tensor, keys: Tensor, bias: Tensor | None, is_causal: bool, scale: float | None) -> Tensor:
    scores = _multiply(query, keys.mT) * _scale(query, scale)
    if is_causal:
        rows = torch.arange(query.shape[2], device=query.device)[:, None]
        columns = torch.arange(keys.shape[2], device=query.device)
        scores = scores.masked_fill(columns > rows, -math.inf)
    return scores if bias is None else scores + widen(bias)


def widen(x: Tensor) -> Tensor:
    """In f32 at least: 16-bit floats are narrower than what attention is computed in, float64 is wider."""
    return x if x.dtype == torch.float64 else x.float()


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    """A product of batches of matrices, in f32 at least."""
    if a.dtype not in (torch.float16, torch.bfloat16):
        return a @ b
    first, second = (x.reshape(-1, *x.shape[-2:]) for x in (a, b))
    wide: Tensor = aten.bmm.dtype(first, second, torch.float32)
    return wide.view(*a.shape[:-1], b.shape[-1])


def _scale(query: Tensor, scale: float | None) -> float:
    return 1.0 / math.sqrt(query.shape[3]) if scale is None else scale


def _repeat(x: Tensor, heads: int) -> Tensor:
    """Each head as often as several heads of the query share it."""
    if x.shape[1] == heads:
        return x
    batch, groups, length, width = x.shape
    return x.unsqueeze(2).expand(batch, groups, heads // groups, length, width).reshape(batch, heads, length, width)


def _sum_repeats(grad: Tensor, x: Tensor) -> Tensor:
    return grad if grad.shape[1] == x.shape[1] else grad.reshape(x.shape[0], x.shape[1], -1, *x.shape[2:]).sum(2)


def _lay_out(out: Tensor, query: Tensor) -> Tensor:
    """The result in memory as the query is, its dimensions in the same order."""
    order = sorted(range(4), key=query.stride, reverse=True)
    return out.to(query.dtype).permute(order).contiguous().permute([order.index(dim) for dim in range(4)])


def _seeds(query: Tensor) -> tuple[Tensor, Tensor]:
    """What stands for the state of the random numbers, which nothing drew from."""
    return query.new_empty((), dtype=torch.int64), query.new_empty((), dtype=torch.int64)


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    return_debug_mask: bool = False,
    *,
    scale: float | None = None,
) -> Any:
    if dropout_p or return_debug_mask:
        return NotImplemented
    out, logsumexp = _attend(query, key, value, None, is_causal, scale)
    lengths = query.shape[2], key.shape[2]
    return _lay_out(out, query), logsumexp, None, None, *lengths, *_seeds(query), query.new_empty(0)


def _flash_backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    cum_seq_q: Tensor | None,
    cum_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    dropout_p: float,
    is_causal: bool,
    philox_seed: Tensor,
    philox_offset: Tensor,
    *,
    scale: float | None = None,
) -> Any:
    if dropout_p:
        return NotImplemented
    return _differentiate(grad_out, query, key, value, None, out, logsumexp, is_causal, scale)[:3]


def _efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Tensor | None,
    compute_log_sumexp: bool,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
) -> Any:
    if dropout_p:
        return NotImplemented
    out, logsumexp = _attend(query, key, value, attn_bias, is_causal, scale)
    # Heads lie within positions, whatever the query's layout.
    laid = out.to(query.dtype).transpose(1, 2).contiguous().transpose(1, 2)
    return laid, logsumexp, *_seeds(query)


def _efficient_backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Tensor | None,
    out: Tensor,
    logsumexp: Tensor,
    philox_seed: Tensor,
    philox_offset: Tensor,
    dropout_p: float,
    grad_input_mask: list[bool],
    is_causal: bool = False,
    *,
    scale: float | None = None,
) -> Any:
    if dropout_p:
        return NotImplemented
    grads = _differentiate(grad_out, query, key, value, attn_bias, out, logsumexp, is_causal, scale)
    return tuple(grad if is_wanted else None for grad, is_wanted in zip(grads, grad_input_mask, strict=True))


def _cudnn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Tensor | None,
    compute_log_sumexp: bool,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    return_debug_mask: bool = False,
    *,
    scale: float | None = None,
) -> Any:
    if dropout_p or return_debug_mask:
        return NotImplemented
    out, logsumexp = _attend(query, key, value, attn_bias, is_causal, scale)
    lengths = query.shape[2], key.shape[2]
    return _lay_out(out, query), logsumexp.unsqueeze(-1), None, None, *lengths, *_seeds(query), None


def _cudnn_backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    philox_seed: Tensor,
    philox_offset: Tensor,
    attn_bias: Tensor | None,
    cum_seq_q: Tensor | None,
    cum_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    dropout_p: float,
    is_causal: bool,
    *,
    scale: float | None = None,
) -> Any:
    if dropout_p:
        return NotImplemented
    return _differentiate(grad_out, query, key, value, attn_bias, out, logsumexp, is_causal, scale)[:3]


FUSED_ATTENTIONS: Mapping[OpOverload, Callable[..., Any]] = {
    aten._scaled_dot_product_flash_attention.default: _flash,
    aten._scaled_dot_product_flash_attention_backward.default: _flash_backward,
    aten._scaled_dot_product_efficient_attention.default: _efficient,
    aten._scaled_dot_product_efficient_attention_backward.default: _efficient_backward,
    aten._scaled_dot_product_cudnn_attention.default: _cudnn,
    aten._scaled_dot_product_cudnn_attention_backward.default: _cudnn_backward,
}
