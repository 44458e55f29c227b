"""Cases that go over elements and rows: maps, moves, conversions, reductions, softmax, norms, losses."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.gpu.case import Case, bf16, bools, case, f16, f64, ints, randn, specials

MAPS = (
    case("maps/arithmetic", lambda x, y: (x * 2 + 1) / (y.abs() + 1) - y, lambda n: (randn(n(1001, 11), 77), randn(n(1001, 11), 77))),
    case("maps/one-element", lambda x: x * 2 + 1, lambda n: (randn(1),)),
    case("maps/scalar", lambda x: x.exp() + 1, lambda n: (torch.tensor(0.5),)),
    case("maps/nothing", lambda x: x.exp() + 1, lambda n: (randn(0, 5),)),
    case("maps/large", lambda x: torch.relu(x) * 3, lambda n: (randn(n(5000003, 1003)),)),
    case(
        "maps/exponentials",
        lambda x: (x.exp(), x.expm1(), x.exp2(), x.abs().log1p(), (x.abs() + 1).log2()),
        lambda n: (randn(n(4099, 101)),),
    ),
    case("maps/trigonometric", lambda x: (x.sin(), x.cos(), (x / 4).tan(), x.atan(), x.tanh(), x.sinh()), lambda n: (randn(n(4099, 101)),)),
    case(
        "maps/roots",
        lambda x: (x.abs().sqrt(), (x.abs() + 0.1).rsqrt(), x.square(), (x.abs() + 1).reciprocal()),
        lambda n: (randn(n(4099, 101)),),
    ),
    case(
        "maps/rare",
        lambda x: (x.erf(), x.erfc(), torch.erfinv(x.tanh() * 0.9), torch.lgamma(x.abs() + 1)),
        lambda n: (randn(n(4099, 101)),),
    ),
    case("maps/powers", lambda x, y: (x.abs() ** y, x**3, 2.0**y), lambda n: (randn(n(999, 99)), randn(n(999, 99)))),
    case(
        "maps/activations",
        lambda x: (F.gelu(x), F.gelu(x, approximate="tanh"), F.silu(x), F.softplus(x), F.elu(x), F.mish(x)),
        lambda n: (randn(n(4099, 101)),),
    ),
    case("maps/rounding", lambda x: (x.floor(), x.ceil(), x.round(), x.trunc(), x.sign()), lambda n: (randn(n(999, 99)) * 3,), "exact"),
    case("maps/remainders", lambda x, y: (torch.remainder(x, y), torch.fmod(x, y)), lambda n: (randn(n(999, 99)) * 9, randn(n(999, 99)))),
    case(
        "maps/integers",
        lambda x, y: (x // y, x % y, x & y, x | y, x ^ y, x << 2, x >> 1, -x),
        lambda n: (ints(99, n(999, 99), low=-99), ints(9, n(999, 99), low=1)),
        "exact",
    ),
    case(
        "maps/narrow-integers",
        lambda x, y: (x * y, x + y, x.int() * 300),
        lambda n: (ints(127, n(999, 99), low=-127, dtype=torch.int8), ints(9, n(999, 99), dtype=torch.int8)),
        "exact",
    ),
    case(
        "maps/comparisons",
        lambda x, y: (x < y, x >= y, x == y, (x < y) & (x > 0), ~(x < 0)),
        lambda n: (specials(n(999, 99)), specials(n(999, 99))),
        "exact",
    ),
    case(
        "maps/specials",
        lambda x: (x.nan_to_num(), x.isnan(), x.isinf(), x.isfinite(), x.abs(), x.clamp(-1, 1)),
        lambda n: (specials(n(999, 199)),),
        "exact",
    ),
    case(
        "maps/maxima",
        lambda x, y: (torch.maximum(x, y), torch.minimum(x, y), torch.fmax(x, y)),
        lambda n: (specials(n(999, 199)), specials(n(999, 199))),
        "exact",
    ),
    case("maps/bf16", lambda x, y: F.gelu(x * y) + x, lambda n: (randn(n(999, 99), 33, dtype=bf16), randn(n(999, 99), 33, dtype=bf16))),
    case("maps/f16", lambda x: (x.exp() + 1).log(), lambda n: (randn(n(999, 99), 33, dtype=f16),)),
    case("maps/f64", lambda x: x.exp().tanh() * 2, lambda n: (randn(n(999, 99), 33, dtype=f64),)),
    case("broadcast/row-and-column", lambda x, r, c: x * r + c, lambda n: (randn(n(515, 15), 77), randn(77), randn(n(515, 15), 1))),
    case("broadcast/outer", lambda x, y: x[:, None] * y[None], lambda n: (randn(n(515, 15)), randn(n(1023, 23)))),
    case("broadcast/middle", lambda x, y: (x + y).relu(), lambda n: (randn(5, n(65, 3), 1, 33), randn(1, n(17, 2), 33))),
    case("broadcast/expanded", lambda x: x.expand(-1, 7, -1) * 2, lambda n: (randn(n(99, 9), 1, 31),)),
)

MOVES = (
    case("move/transpose", lambda x: x.t().contiguous(), lambda n: (randn(n(1025, 35), n(515, 37)),), "exact"),
    case("move/permute", lambda x: x.permute(0, 2, 3, 1).contiguous(), lambda n: (randn(3, n(65, 9), n(33, 7), 17),), "exact"),
    case("move/transposed-map", lambda x, y: x.t() + y, lambda n: (randn(n(513, 33), n(257, 17)), randn(n(257, 17), n(513, 33)))),
    case("move/strided-input", lambda x: x * 2, lambda n: (randn(n(513, 33), 40)[:, ::3],)),
    case("move/unaligned-input", lambda x: x * 2, lambda n: (randn(n(4001, 101))[1:],)),
    case(
        "move/cat-and-stack",
        lambda x, y: (torch.cat([x, y], 1), torch.stack([x, x * 2])),
        lambda n: (randn(n(99, 9), 31), randn(n(99, 9), 5)),
    ),
    case("move/slices", lambda x: x[1:-1, ::2] + x[2:, 1::2], lambda n: (randn(n(515, 15), 64),)),
    case(
        "move/pad",
        lambda x: (F.pad(x, (1, 2, 3, 0), value=1.5), F.pad(x, (2, 2, 1, 1), mode="reflect")),
        lambda n: (randn(2, 3, n(65, 7), 33),),
    ),
    case("move/flip-roll-repeat", lambda x: (x.flip(0, 1), x.roll(3, 1), x.repeat(2, 3)), lambda n: (randn(n(99, 9), 31),), "exact"),
    case("move/triangles", lambda x: (x.tril(), x.triu(1), x.diagonal() * 2), lambda n: (randn(n(257, 17), n(257, 17)),)),
    case("move/unfold", lambda x: x.unfold(1, 5, 2) * 2, lambda n: (randn(n(99, 9), 64),)),
    case(
        "where/masks",
        lambda c, x, y: (torch.where(c, x, y), x.masked_fill(c, -1.0)),
        lambda n: (bools(n(999, 99), 33), randn(n(999, 99), 33), randn(33)),
        "exact",
    ),
    case("where/constants", lambda x: torch.where(x > 0, x, 0.1 * x).clamp(max=1), lambda n: (randn(n(999, 99), 33),)),
    case(
        "where/positions",
        lambda x: x.masked_fill(torch.arange(33, device=x.device) > 20, 0) + torch.arange(33, device=x.device),
        lambda n: (randn(n(999, 99), 33),),
    ),
    case(
        "dtype/floats", lambda x: (x.half(), x.bfloat16(), x.double(), x.half().float()), lambda n: (randn(n(999, 99), 33) * 100,), "exact"
    ),
    case(
        "dtype/integers",
        lambda x: (x.int(), x.long(), x.to(torch.int8), x.bool(), x.int().float()),
        lambda n: ((randn(n(999, 99), 33) * 50).clamp(-120, 120),),
        "exact",
    ),
    case(
        "dtype/fp8",
        lambda x: (x.to(torch.float8_e4m3fn).float(), x.to(torch.float8_e5m2).float()),
        lambda n: (randn(n(999, 99), 33),),
        "exact",
    ),
    case(
        "dtype/from-narrow",
        lambda x, y, z: (x.float() + 1, y.long() + 1, z.float() * 2),
        lambda n: (randn(n(99, 9), 33, dtype=bf16), ints(200, n(99, 9), 33, dtype=torch.uint8), bools(n(99, 9), 33)),
        "exact",
    ),
)

REDUCTIONS = (
    case("reduce/sum-rows", lambda x: x.sum(-1), lambda n: (randn(n(1025, 17), n(1000, 100)),)),
    case("reduce/sum-long-rows", lambda x: x.sum(-1), lambda n: (randn(5, n(500009, 1009)),)),
    case("reduce/sum-short-rows", lambda x: x.sum(-1), lambda n: (randn(n(70001, 71), 3),)),
    case("reduce/sum-columns", lambda x: x.sum(0), lambda n: (randn(n(20011, 211), n(130, 13)),)),
    case("reduce/sum-all", lambda x: x.sum(), lambda n: (randn(n(1000003, 1003)),)),
    case("reduce/mean-middle", lambda x: x.mean((1, 2)), lambda n: (randn(n(33, 3), n(129, 9), 15, n(40, 5)),)),
    case("reduce/max-with-indices", lambda x: (x.max(-1), x.min(0)), lambda n: (randn(n(257, 17), n(1001, 101)),), "exact"),
    case("reduce/argmax", lambda x: (x.argmax(-1), x.argmin(0), x.argmax()), lambda n: (randn(n(257, 17), n(1001, 101)),), "exact"),
    case("reduce/extrema-of-specials", lambda x: (x.amax(-1), x.amin(-1), x.argmax(-1)), lambda n: (specials(n(257, 37), 9),), "exact"),
    case("reduce/products", lambda x: x.prod(-1), lambda n: (1 + 0.01 * randn(n(257, 17), n(300, 40)),)),
    case("reduce/var-mean", lambda x: (torch.var_mean(x, -1), x.std(0)), lambda n: (randn(n(257, 17), n(1001, 101)) + 10,)),
    case("reduce/logsumexp", lambda x: (x.logsumexp(-1), x.logsumexp(0)), lambda n: (randn(n(257, 17), n(1001, 101)) * 20,)),
    case(
        "reduce/any-all",
        lambda x: ((x > 3).any(-1), (x > -3).all(0), (x > 0).count_nonzero(-1)),
        lambda n: (randn(n(257, 17), n(1001, 101)),),
        "exact",
    ),
    case("reduce/norms", lambda x: (x.norm(dim=-1), torch.linalg.vector_norm(x, 1, dim=0)), lambda n: (randn(n(257, 17), n(1001, 101)),)),
    case("reduce/integers", lambda x: (x.sum(-1), x.amax(0), x.prod(-1)), lambda n: (ints(3, n(257, 17), n(101, 31), low=1),), "exact"),
    case("reduce/bf16", lambda x: (x.sum(-1), x.mean(0)), lambda n: (randn(n(257, 17), n(1001, 101), dtype=bf16),)),
    case("reduce/fused-map", lambda x, y: ((x - y) ** 2).mean(), lambda n: (randn(n(1025, 15), 333), randn(n(1025, 15), 333))),
    case("reduce/nothing", lambda x: (x.sum(0), x.prod(0)), lambda n: (randn(0, 5),), "exact"),
    case("softmax/short-rows", lambda x: x.softmax(-1), lambda n: (randn(n(30011, 41), 7) * 5,)),
    case("softmax/rows", lambda x: x.softmax(-1), lambda n: (randn(n(1025, 17), n(1000, 100)) * 5,)),
    case("softmax/long-rows", lambda x: x.softmax(-1), lambda n: (randn(7, n(100003, 2003)) * 5,)),
    case("softmax/columns", lambda x: x.softmax(0), lambda n: (randn(n(1001, 101), n(130, 13)),)),
    case("softmax/log", lambda x: x.log_softmax(-1), lambda n: (randn(n(1025, 17), n(1000, 100)) * 5,)),
    case("softmax/bf16", lambda x: x.softmax(-1), lambda n: (randn(n(1025, 17), n(1000, 100), dtype=bf16),)),
    case(
        "softmax/masked", lambda x, m: x.masked_fill(m, float("-inf")).softmax(-1), lambda n: (randn(n(515, 15), 70), bools(n(515, 15), 70))
    ),
    Case("norm/layer", lambda n: (nn.LayerNorm(n(768, 76)), (randn(n(515, 15), n(768, 76)) + 3,))),
    Case("norm/layer-odd", lambda n: (nn.LayerNorm(n(1003, 103)), (randn(n(515, 15), n(1003, 103)),))),
    Case("norm/layer-long", lambda n: (nn.LayerNorm(n(50001, 2001)), (randn(9, n(50001, 2001)),))),
    Case("norm/rms", lambda n: (nn.RMSNorm(n(4096, 96)), (randn(n(257, 17), n(4096, 96)),))),
    Case("norm/group", lambda n: (nn.GroupNorm(4, 16), (randn(3, 16, n(33, 5), 17),))),
    Case("norm/batch-eval", lambda n: (nn.BatchNorm2d(n(65, 5)).eval(), (randn(3, n(65, 5), 17, 15),))),
    Case("norm/batch-train", lambda n: (nn.BatchNorm2d(n(65, 5), track_running_stats=False).train(), (randn(3, n(65, 5), 17, 15),))),
    case(
        "norm/add-layer",
        lambda x, y, w: (x + y, F.layer_norm(x + y, (96,), w)),
        lambda n: (randn(n(515, 15), 96), randn(n(515, 15), 96), randn(96)),
    ),
    Case("norm/bf16", lambda n: (nn.LayerNorm(n(768, 76)).bfloat16(), (randn(n(515, 15), n(768, 76), dtype=bf16),))),
    case("loss/cross-entropy", F.cross_entropy, lambda n: (randn(n(257, 17), n(1000, 100)), ints(n(1000, 100), n(257, 17)))),
    case(
        "loss/smoothed",
        lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1, ignore_index=3),
        lambda n: (randn(n(257, 33), 10), ints(10, n(257, 33))),
    ),
    case(
        "loss/divergence",
        lambda x, y: F.kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean"),
        lambda n: (randn(n(257, 17), 100), randn(n(257, 17), 100)),
    ),
)

ELEMENTS: tuple[Case, ...] = (*MAPS, *MOVES, *REDUCTIONS)
