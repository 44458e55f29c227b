"""Whole layers that PyTorch fuses into one operator for inference, in the operators they are made of.

    _native_multi_head_attention(q, k, v) = softmax(mask(Q @ K.T / sqrt(d))) @ V @ P.T + p    where Q, K, V = q, k, v @ W.T + w
    _transformer_encoder_layer_fwd(x)     = norm(y + ff(y))  where y = norm(x + attention(x)); with norm_first x + attention(norm(x)), ...
    mkldnn_rnn_layer(x, h, c)             = one step after another, which the passes roll up into an iteration again; of many rows or
                                            steps it is left whole: kernels read the weights once a row, and steps take time to compile

A row of attention in which everything is masked is NaN, as in the fused operators.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import functional

aten = torch.ops.aten

_OF_QUERIES, _OF_KEYS = 0, 1
"""What a mask says: of each pair of query and key, the same for the batch; of each key of the batch; otherwise of everything."""
_LSTM = 2
MOST_ROWS = 4
"""Rows of a batch of an LSTM up to which its steps as a kernel were measured to be as fast as the fused layer, at widths of 32 to 1024."""
MOST_STEPS = 256
"""Steps of an LSTM that are recorded: some 10 operators each."""


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The projected attention [N, L, E], and the probabilities [N, L, S] or [N, H, L, S] if they are wanted."""
    weights, biases = qkv_weight.chunk(3), qkv_bias.chunk(3)
    split = functools.partial(_split_heads, count=num_head)
    q, k, v = (split(functional.linear(x, w, b)) for x, w, b in zip((query, key, value), weights, biases))
    scores = (q * (1 / math.sqrt(embed_dim // num_head))) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(_spread(mask.bool(), mask_type), -math.inf)
    probabilities = scores.softmax(-1)
    batch, length = query.shape[:2]
    out = functional.linear((probabilities @ v).transpose(1, 2).reshape(batch, length, embed_dim), proj_weight, proj_bias)
    if not need_weights:
        return out, None
    return out, probabilities.mean(1) if average_attn_weights else probabilities


def _split_heads(x: Tensor, count: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], count, x.shape[2] // count).transpose(1, 2)


def _spread(mask: Tensor, kind: int | None) -> Tensor:
    if kind == _OF_KEYS:
        return mask[:, None, None, :]
    return mask[None, None] if kind == _OF_QUERIES else mask


def _encode(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """An encoder's layer, [N, L, E] to [N, L, E]."""

    def attend(x: Tensor) -> Tensor:
        weights = (qkv_weight, qkv_bias, proj_weight, proj_bias)
        return _attend(x, x, x, embed_dim, num_heads, *weights, mask, False, True, mask_type)[0]

    def feed(x: Tensor) -> Tensor:
        wide = functional.linear(x, ffn_weight_1, ffn_bias_1)
        return functional.linear(functional.gelu(wide) if use_gelu else functional.relu(wide), ffn_weight_2, ffn_bias_2)

    first = functools.partial(functional.layer_norm, normalized_shape=(embed_dim,), weight=norm_weight_1, bias=norm_bias_1, eps=eps)
    second = functools.partial(functional.layer_norm, normalized_shape=(embed_dim,), weight=norm_weight_2, bias=norm_bias_2, eps=eps)
    if norm_first:
        x = src + attend(first(src))
        return x + feed(second(x))
    x = first(src + attend(src))
    return second(x + feed(x))


def _run_lstm(
    x: Tensor,
    weight0: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    weight3: Tensor,
    hx: Tensor,
    cx: Tensor,
    reverse: bool,
    batch_sizes: list[int],
    mode: int,
    hidden_size: int,
    num_layers: int,
    has_biases: bool,
    bidirectional: bool,
    batch_first: bool,
    train: bool,
) -> Any:
    """One layer in one direction: its outputs [T, N, H], the last h and c, and a workspace of nothing."""
    steps, rows = x.shape[:2]
    is_small = isinstance(steps, int) and steps <= MOST_STEPS and isinstance(rows, int) and rows <= MOST_ROWS
    if mode != _LSTM or train or batch_sizes or not is_small:
        return NotImplemented
    bias = weight2 + weight3 if has_biases else None
    given = functional.linear(x, weight0, bias)
    h, c = hx.reshape(-1, hidden_size), cx.reshape(-1, hidden_size)
    outputs = []
    for step in reversed(range(steps)) if reverse else range(steps):
        i, f, g, o = (given[step] + functional.linear(h, weight1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    y = torch.stack(outputs[::-1] if reverse else outputs)
    return y, h.reshape(hx.shape), c.reshape(cx.shape), x.new_empty(0, dtype=torch.uint8)


LAYERS: Mapping[OpOverload, Callable[..., Any]] = {
    aten._native_multi_head_attention.default: _attend,
    aten._transformer_encoder_layer_fwd.default: _encode,
    aten.mkldnn_rnn_layer.default: _run_lstm,
}
