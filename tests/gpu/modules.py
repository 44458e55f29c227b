"""Small modules that cases and benchmarks share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention spelled out; [..., tokens, width]."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return (scores if bias is None else scores + bias).softmax(-1) @ value


class Attention(nn.Module):
    """Attention spelled out, causal if asked; keys and values have `groups` times fewer heads than queries."""

    def __init__(self, groups: int = 1, causal: bool = False) -> None:
        super().__init__()
        self.groups = groups
        self.causal = causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.groups > 1:
            key, value = (part.repeat_interleave(self.groups, 1) for part in (key, value))
        if not self.causal:
            return attend(query, key, value)
        places = torch.arange(query.shape[-2], device=query.device)
        bias = torch.zeros(len(places), len(places), dtype=query.dtype, device=query.device)
        return attend(query, key, value, bias.masked_fill(places[None] > places[:, None], -math.inf))


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions: [batch, tokens, heads, 2 * width] by [tokens, width]."""
    sine, cosine = angles.sin()[:, None], angles.cos()[:, None]
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


class Recurrence(nn.Module):
    """h = a * h + b along dimension 1, as a loop."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        h, steps = torch.zeros_like(b[:, 0]), []
        for t in range(b.shape[1]):
            h = a[:, t] * h + b[:, t]
            steps.append(h)
        return torch.stack(steps, 1)


class Dequantised(nn.Module):
    """A linear map whose weights are integers of 8 or 4 bits, two of the latter in a byte, with a scale for each output."""

    def __init__(self, inputs: int, outputs: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("weight", torch.randint(0, 256, (outputs, inputs * bits // 8), dtype=torch.uint8))
        self.register_buffer("scale", torch.rand(outputs) / 2**bits)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self.bits == 4:
            weight = torch.stack([weight & 15, weight >> 4], -1).flatten(1)
        weight = (weight.to(x.dtype) - 2 ** (self.bits - 1)) * self.scale.to(x.dtype)[:, None]
        return x @ weight.t()
