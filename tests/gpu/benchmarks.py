"""What is measured beside the zoo: single kernels at sizes that fill a GPU, against whom.

A benchmark makes its module and inputs on the device, asking `n(full, small)` for sizes as cases do. What memory-bound ones move is
counted from their inputs, weights and results, and copied by the peer "copy": its ratio is the share of the bandwidth of a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.compiled import Function
from tests.gpu.case import Inputs, Pick, bf16, f16, ints, randn
from tests.gpu.modules import Attention, attend

PEERS = ("eager", "inductor")
Made: TypeAlias = tuple[nn.Module, Inputs]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A kernel to be measured."""

    name: str
    make: Callable[[Pick], Made]
    peers: tuple[str, ...] = ()
    """Of those in rows.py."""
    others: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    """Peers of its own, called with the same inputs."""
    count_operations: Callable[..., float] | None = None
    """Floating-point operations, from the inputs."""
    is_cold: bool = False
    """Whether nothing of it is to be in the second cache, as where memory is the bound."""
    precision: str = "ieee"
    """What PyTorch is told about f32 matrices: "ieee" or "tf32"."""
    options: dict[str, Any] = field(default_factory=dict)
    """For tcomp.compile."""


def count_product(a: Tensor, b: Tensor) -> float:
    return 2.0 * a.numel() * b.shape[-1]


def product(name: str, m: int, k: int, n: int, dtype: torch.dtype, precision: str = "ieee", batch: tuple[int, ...] = ()) -> Benchmark:
    """A matrix product against cuBLAS."""

    def make(pick: Pick) -> Made:
        x, y, z = (pick(size, 16 + size % 7) for size in (m, k, n))
        return Function(torch.matmul), (randn(*batch, x, y, dtype=dtype), randn(*batch, y, z, dtype=dtype) / math.sqrt(k))

    return Benchmark(name, make, others={"cublas": torch.matmul}, count_operations=count_product, precision=precision)


PRODUCTS = (
    product("bf16-8192", 8192, 8192, 8192, bf16),
    product("bf16-4096", 4096, 4096, 4096, bf16),
    product("f16-4096", 4096, 4096, 4096, f16),
    product("f32-4096", 4096, 4096, 4096, torch.float32),
    product("tf32-4096", 4096, 4096, 4096, torch.float32, "tf32"),
    product("bf16-skinny", 16, 4096, 4096, bf16),
    product("bf16-batch", 512, 512, 512, bf16, batch=(64,)),
    product("bf16-odd", 4001, 4003, 4007, bf16),
)


def stream(name: str, function: Callable[..., Any], draw: Callable[[Pick], Inputs]) -> Benchmark:
    """A function that memory bounds."""
    return Benchmark(name, lambda n: (Function(function), draw(n)), (*PEERS, "copy"), is_cold=True)


WIDTH = 4096
"""Of rows, where nothing else is said."""


def rows(n: Pick, dtype: torch.dtype = torch.float32, width: int = WIDTH) -> Tensor:
    """A matrix of 256 MiB in bf16."""
    return randn(n(2**27 // width, 8), n(width, 48), dtype=dtype)


def weight(n: Pick, dtype: torch.dtype = torch.float32) -> Tensor:
    return randn(n(WIDTH, 48), dtype=dtype)


def vector(n: Pick, dtype: torch.dtype = torch.float32) -> Tensor:
    return randn(n(2**27, 333), dtype=dtype)


def normalise(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w, b)


STREAMS = (
    stream("softmax-bf16", lambda x: x.softmax(-1), lambda n: (rows(n, bf16),)),
    stream("softmax-long-f32", lambda x: x.softmax(-1), lambda n: (rows(n, width=65536),)),
    stream("layer-norm-bf16", normalise, lambda n: (rows(n, bf16), weight(n, bf16), weight(n, bf16))),
    stream("rms-norm-bf16", lambda x, w: F.rms_norm(x, x.shape[-1:], w), lambda n: (rows(n, bf16), weight(n, bf16))),
    stream("add-norm-f32", lambda x, y, w: (x + y, normalise(x + y, w)), lambda n: (rows(n), rows(n), weight(n))),
    stream("gelu-bf16", lambda x: F.gelu(x), lambda n: (vector(n, bf16),)),
    stream("chain-f32", lambda x, y: torch.sigmoid(x * 1.5 + y) * torch.tanh(y) - x, lambda n: (vector(n), vector(n))),
    stream("cross-entropy-bf16", F.cross_entropy, lambda n: (randn(n(8192, 9), n(50304, 48), dtype=bf16), ints(n(50304, 48), n(8192, 9)))),
    stream("row-sum-f32", lambda x: x.sum(-1), lambda n: (rows(n),)),
    stream("column-sum-f32", lambda x: x.sum(0), lambda n: (rows(n),)),
    stream("transpose-f32", lambda x: x.t().contiguous(), lambda n: (rows(n),)),
)


def use_flash(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """PyTorch's flash attention; of f32, which it has none for, its memory-efficient one."""
    backend = SDPBackend.EFFICIENT_ATTENTION if query.dtype == torch.float32 else SDPBackend.FLASH_ATTENTION
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=query.shape[1] != key.shape[1])


def attention(
    name: str, queries: tuple[int, ...], keys: tuple[int, ...], dtype: torch.dtype, *, causal: bool = False, is_cold: bool = False
) -> Benchmark:
    """Attention spelled out, against PyTorch's: shapes are (batch, heads, tokens, width)."""
    groups = queries[1] // keys[1]

    def make(pick: Pick) -> Made:
        shapes = [
            (pick(batch, 1), pick(heads, heads // keys[1]), pick(tokens, min(tokens, 24)), pick(width, 32))
            for batch, heads, tokens, width in (queries, keys, keys)
        ]
        plain = groups == 1 and not causal
        return (Function(attend) if plain else Attention(groups, causal)), tuple(randn(*shape, dtype=dtype) for shape in shapes)

    def count(query: Tensor, key: Tensor, value: Tensor) -> float:
        return 4.0 * query.numel() * key.shape[-2] / (2 if causal else 1)

    others = {"flash": lambda *inputs: use_flash(*inputs, causal=causal)}
    return Benchmark(name, make, ("eager",), others, count, is_cold)


ATTENTIONS = (
    attention("bf16-4096", (2, 16, 4096, 128), (2, 16, 4096, 128), bf16),
    attention("bf16-causal-4096", (2, 16, 4096, 128), (2, 16, 4096, 128), bf16, causal=True),
    attention("bf16-512", (32, 16, 512, 64), (32, 16, 512, 64), bf16),
    attention("f32-2048", (2, 16, 2048, 64), (2, 16, 2048, 64), torch.float32),
    attention("bf16-grouped-causal", (2, 32, 2048, 128), (2, 8, 2048, 128), bf16, causal=True),
    attention("bf16-decode", (32, 32, 1, 128), (32, 32, 4096, 128), bf16, is_cold=True),
)


def add_rows(table: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    return table.index_add(0, index, rows)


def draw_rows(n: Pick) -> Inputs:
    return torch.zeros(n(50304, 40), n(1024, 24)), ints(n(50304, 40), n(32768, 64)), randn(n(32768, 64), n(1024, 24))


def window(
    name: str, make_layer: Callable[[Pick], nn.Module], draw: Callable[[Pick], Tensor], dtype: torch.dtype = torch.float32
) -> Benchmark:
    """A convolution."""
    return Benchmark(name, lambda n: (make_layer(n).to(dtype), (draw(n).to(dtype),)), PEERS)


def make_depthwise(n: Pick) -> nn.Module:
    return nn.Conv2d(n(384, 8), n(384, 8), 7, padding=3, groups=n(384, 8))


def scatter(name: str, **options: Any) -> Benchmark:
    """What the backward pass of an embedding does."""
    return Benchmark(name, lambda n: (Function(add_rows), draw_rows(n)), PEERS, is_cold=True, options=options)


OTHERS = (
    scatter("embedding-backward"),
    scatter("embedding-backward-atomic", scatter="atomic"),
    stream("cumsum-f32", lambda x: x.cumsum(-1), lambda n: (rows(n),)),
    Benchmark("embedding", lambda n: (nn.Embedding(n(50304, 40), n(1024, 24)), (ints(n(50304, 40), n(65536, 64)),)), PEERS, is_cold=True),
    window("conv3x3-bf16", lambda n: nn.Conv2d(n(256, 8), n(256, 8), 3, padding=1), lambda n: randn(n(32, 2), n(256, 8), 28, 28), bf16),
    window("conv3x3-f32", lambda n: nn.Conv2d(n(64, 8), n(64, 8), 3, padding=1), lambda n: randn(n(32, 2), n(64, 8), 28, n(56, 9))),
    window("depthwise-bf16", make_depthwise, lambda n: randn(n(32, 2), n(384, 8), 28, n(28, 9)), bf16),
    Benchmark("topk-f32", lambda n: (Function(lambda x: x.topk(8, -1)), (randn(n(16384, 5), n(256, 32)),)), PEERS, is_cold=True),
)
