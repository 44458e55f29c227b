"""Cases of products: matrices, convolutions and other windows, attention."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.gpu.case import Case, bf16, bools, case, f16, f64, ints, randn
from tests.gpu.modules import Attention, Dequantised, attend, rotate

MATMULS = (
    case("matmul/f32", torch.mm, lambda n: (randn(n(512, 64), n(256, 32)), randn(n(256, 32), n(384, 48)))),
    case("matmul/f32-odd", torch.mm, lambda n: (randn(n(333, 33), n(257, 27)), randn(n(257, 27), n(515, 35)))),
    case("matmul/f32-ieee", torch.mm, lambda n: (randn(n(333, 33), n(257, 27)), randn(n(257, 27), n(515, 35))), precision="ieee"),
    case("matmul/f32-tf32", torch.mm, lambda n: (randn(n(512, 32), n(256, 32)), randn(n(256, 32), n(384, 48))), "tf32", precision="tf32"),
    case("matmul/f16", torch.mm, lambda n: (randn(n(512, 64), n(256, 32), dtype=f16), randn(n(256, 32), n(384, 48), dtype=f16))),
    case("matmul/bf16", torch.mm, lambda n: (randn(n(512, 64), n(256, 32), dtype=bf16), randn(n(256, 32), n(384, 48), dtype=bf16))),
    case(
        "matmul/bf16-large", torch.mm, lambda n: (randn(n(2048, 64), n(2048, 32), dtype=bf16), randn(n(2048, 32), n(2048, 48), dtype=bf16))
    ),
    case("matmul/bf16-odd", torch.mm, lambda n: (randn(n(333, 33), n(257, 27), dtype=bf16), randn(n(257, 27), n(515, 35), dtype=bf16))),
    case("matmul/f64", torch.mm, lambda n: (randn(n(129, 19), n(257, 27), dtype=f64), randn(n(257, 27), n(65, 15), dtype=f64))),
    case(
        "matmul/int8",
        torch._int_mm,
        lambda n: (
            ints(128, n(256, 32), n(128, 32), low=-128, dtype=torch.int8),
            ints(128, n(128, 32), n(256, 32), low=-128, dtype=torch.int8),
        ),
        "exact",
    ),
    case(
        "matmul/fp8",
        lambda a, b: a.bfloat16() @ b.bfloat16(),
        lambda n: (randn(n(256, 32), n(128, 32)).to(torch.float8_e4m3fn), randn(n(128, 32), n(256, 32)).to(torch.float8_e4m3fn)),
    ),
    Case("matmul/int8-weights", lambda n: (Dequantised(n(256, 32), n(512, 48), bits=8), (randn(n(64, 8), n(256, 32), dtype=bf16),))),
    Case("matmul/int4-weights", lambda n: (Dequantised(n(256, 32), n(512, 48), bits=4), (randn(n(64, 8), n(256, 32), dtype=bf16),))),
    case("matmul/vector", torch.mv, lambda n: (randn(n(1025, 35), n(777, 77)), randn(n(777, 77)))),
    case("matmul/row", torch.mm, lambda n: (randn(1, n(1025, 35), dtype=bf16), randn(n(1025, 35), n(777, 77), dtype=bf16))),
    case("matmul/dot", torch.dot, lambda n: (randn(n(100003, 1003)), randn(n(100003, 1003)))),
    case("matmul/outer-product", torch.mm, lambda n: (randn(n(515, 35), 1), randn(1, n(333, 33)))),
    case("matmul/long-sum", torch.mm, lambda n: (randn(16, n(60000, 2000), dtype=bf16), randn(n(60000, 2000), 24, dtype=bf16))),
    case("matmul/skinny", torch.mm, lambda n: (randn(16, n(2048, 64), dtype=bf16), randn(n(2048, 64), n(2048, 80), dtype=bf16))),
    case("matmul/batched", torch.bmm, lambda n: (randn(n(12, 3), n(129, 17), 64), randn(n(12, 3), 64, n(65, 20)))),
    case("matmul/broadcast-batches", torch.matmul, lambda n: (randn(n(5, 2), 1, n(65, 9), 32), randn(3, 32, n(33, 11)))),
    case(
        "matmul/transposed-left",
        lambda a, b: a.t() @ b,
        lambda n: (randn(n(257, 27), n(333, 33), dtype=bf16), randn(n(257, 27), n(128, 24), dtype=bf16)),
    ),
    case(
        "matmul/transposed-right",
        lambda a, b: a @ b.t(),
        lambda n: (randn(n(333, 33), n(257, 27), dtype=bf16), randn(n(128, 24), n(257, 27), dtype=bf16)),
    ),
    case("matmul/transposed-both", lambda a, b: a.t() @ b.t(), lambda n: (randn(n(257, 27), n(333, 33)), randn(n(128, 24), n(257, 27)))),
    case("matmul/transposed-result", lambda a, b: (a @ b).t().contiguous(), lambda n: (randn(n(333, 33), 64), randn(64, n(128, 24)))),
    Case("matmul/bias-gelu", lambda n: (nn.Sequential(nn.Linear(n(256, 32), n(515, 35)), nn.GELU()), (randn(n(129, 17), n(256, 32)),))),
    case(
        "matmul/bias-residual-bf16",
        lambda x, a, b: torch.relu(x @ a + b) + x,
        lambda n: (
            randn(n(257, 17), n(256, 32), dtype=bf16),
            randn(n(256, 32), n(256, 32), dtype=bf16) / 16,
            randn(n(256, 32), dtype=bf16),
        ),
    ),
    case(
        "matmul/prologue",
        lambda x, w: F.silu(x) @ w,
        lambda n: (randn(n(257, 17), n(256, 32), dtype=bf16), randn(n(256, 32), 96, dtype=bf16)),
    ),
    case("matmul/row-sum-after", lambda x, w: (x @ w).sum(-1), lambda n: (randn(n(257, 17), 64), randn(64, n(300, 30)))),
    case(
        "matmul/two",
        lambda x, a, b: F.gelu(x @ a) @ b,
        lambda n: (randn(n(257, 17), 64), randn(64, n(256, 40)) / 8, randn(n(256, 40), 48) / 8),
    ),
    case(
        "matmul/three-factors",
        lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c),
        lambda n: (randn(n(129, 19), n(65, 15)), randn(n(65, 15), 8), randn(8, n(257, 27))),
    ),
    case(
        "matmul/gated",
        lambda x, g, u: F.silu(x @ g) * (x @ u),
        lambda n: (randn(n(257, 17), 64, dtype=bf16), randn(64, n(300, 40), dtype=bf16) / 8, randn(64, n(300, 40), dtype=bf16) / 8),
    ),
    case(
        "matmul/einsum",
        lambda a, b: torch.einsum("bihd,bjhd->bhij", a, b),
        lambda n: (randn(2, n(65, 9), 3, 32), randn(2, n(77, 11), 3, 32)),
    ),
    case("matmul/distances", lambda a, b: torch.cdist(a, b), lambda n: (randn(n(129, 17), 24), randn(n(65, 9), 24))),
)

WINDOWS = (
    Case("conv/3x3", lambda n: (nn.Conv2d(n(32, 5), n(48, 7), 3, padding=1), (randn(2, n(32, 5), n(28, 9), n(28, 8)),))),
    Case("conv/1x1", lambda n: (nn.Conv2d(n(64, 8), n(96, 12), 1), (randn(2, n(64, 8), n(28, 7), 14),))),
    Case("conv/strided", lambda n: (nn.Conv2d(3, n(64, 8), 7, stride=2, padding=3), (randn(1, 3, n(64, 19), n(65, 18)),))),
    Case("conv/grouped", lambda n: (nn.Conv2d(12, n(48, 12), 3, groups=3, padding=1), (randn(2, 12, n(28, 7), 13),))),
    Case("conv/depthwise", lambda n: (nn.Conv2d(n(96, 8), n(96, 8), 3, groups=n(96, 8), padding=1), (randn(2, n(96, 8), n(28, 7), 13),))),
    Case(
        "conv/depthwise-strided",
        lambda n: (nn.Conv2d(n(96, 8), n(96, 8), 5, groups=n(96, 8), stride=2, padding=2), (randn(2, n(96, 8), n(29, 9), 13),)),
    ),
    Case("conv/dilated", lambda n: (nn.Conv2d(8, n(24, 6), 3, dilation=2), (randn(2, 8, n(28, 9), 13),))),
    Case("conv/1d", lambda n: (nn.Conv1d(n(80, 8), n(96, 12), 3, stride=2, padding=1), (randn(2, n(80, 8), n(301, 31)),))),
    Case("conv/3d", lambda n: (nn.Conv3d(3, n(16, 5), 3, padding=1), (randn(1, 3, n(9, 4), n(15, 5), 12),))),
    Case("conv/transposed", lambda n: (nn.ConvTranspose2d(8, n(24, 6), 3, stride=2, padding=1), (randn(2, 8, n(14, 5), 7),))),
    Case(
        "conv/bias-relu-bf16",
        lambda n: (
            nn.Sequential(nn.Conv2d(n(32, 8), n(64, 8), 3, padding=1), nn.ReLU()).bfloat16(),
            (randn(2, n(32, 8), n(28, 7), 14, dtype=bf16),),
        ),
    ),
    Case(
        "conv/batch-norm-relu",
        lambda n: (
            nn.Sequential(nn.Conv2d(8, n(32, 8), 3, bias=False), nn.BatchNorm2d(n(32, 8)), nn.ReLU()).eval(),
            (randn(2, 8, n(28, 9), 12),),
        ),
    ),
    Case("pool/max", lambda n: (nn.MaxPool2d(3, stride=2, padding=1), (randn(2, n(33, 5), n(57, 9), 11),))),
    Case("pool/average", lambda n: (nn.AvgPool2d(3, stride=2, padding=1), (randn(2, n(33, 5), n(57, 9), 11),))),
    case(
        "pool/adaptive",
        lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (3, 5)), F.adaptive_max_pool2d(x, 4)),
        lambda n: (randn(2, n(33, 5), n(57, 17), 15),),
    ),
    case("resample/bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), lambda n: (randn(2, 5, n(33, 7), 15),)),
    case("resample/nearest", lambda x: F.interpolate(x, size=(50, 31)), lambda n: (randn(2, 5, n(33, 7), 15),), "exact"),
    case(
        "resample/grid",
        lambda x, g: F.grid_sample(x, g, align_corners=False),
        lambda n: (randn(2, 3, 17, 15), torch.rand(2, n(33, 7), 9, 2) * 2.2 - 1.1),
    ),
)

ATTENTION = (
    case("attention/full", attend, lambda n: tuple(randn(2, 3, n(128, 16), 64) for _ in range(3))),
    Case("attention/causal", lambda n: (Attention(causal=True), tuple(randn(2, 3, n(256, 24), 64) for _ in range(3)))),
    Case("attention/causal-bf16", lambda n: (Attention(causal=True), tuple(randn(2, 3, n(256, 24), 64, dtype=bf16) for _ in range(3)))),
    case("attention/f16-wide", attend, lambda n: tuple(randn(1, 2, n(256, 24), 128, dtype=f16) for _ in range(3))),
    case("attention/odd-lengths", attend, lambda n: (randn(2, 3, n(77, 13), 40), randn(2, 3, n(203, 29), 40), randn(2, 3, n(203, 29), 24))),
    Case(
        "attention/grouped",
        lambda n: (
            Attention(groups=2, causal=True),
            (randn(2, 4, n(128, 16), 32), randn(2, 2, n(128, 16), 32), randn(2, 2, n(128, 16), 32)),
        ),
    ),
    case(
        "attention/decode",
        attend,
        lambda n: (randn(3, 4, 1, 64, dtype=bf16), randn(3, 4, n(1027, 67), 64, dtype=bf16), randn(3, 4, n(1027, 67), 64, dtype=bf16)),
    ),
    case(
        "attention/mask",
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m),
        lambda n: (*(randn(2, 3, n(96, 16), 32) for _ in range(3)), bools(n(96, 16), n(96, 16)) | torch.eye(n(96, 16)).bool()),
    ),
    case(
        "attention/bias",
        lambda q, k, v, b: attend(q, k, v, b),
        lambda n: (*(randn(2, 3, n(96, 16), 32) for _ in range(3)), randn(3, n(96, 16), n(96, 16))),
    ),
    case(
        "attention/torch-causal",
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda n: tuple(randn(2, 3, n(96, 16), 32) for _ in range(3)),
    ),
    Case(
        "attention/projected",
        lambda n: (nn.MultiheadAttention(n(64, 16), 4, batch_first=True).eval(), tuple([randn(2, n(77, 13), n(64, 16))] * 3)),
    ),
    case("attention/rotary", rotate, lambda n: (randn(2, n(77, 13), 3, 32), randn(n(77, 13), 16))),
)

PRODUCTS: tuple[Case, ...] = (*MATMULS, *WINDOWS, *ATTENTION)
