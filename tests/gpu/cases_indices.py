"""Cases whose places are data or depend on those before: gathers, scatters, sorting, scans, recurrences."""

from __future__ import annotations

import torch
from torch import nn

from tests.gpu.case import Case, bf16, case, ints, randn
from tests.gpu.modules import Recurrence

INDEXING = (
    Case("gather/embedding", lambda n: (nn.Embedding(n(1000, 50), 96), (ints(n(1000, 50), 3, n(257, 17)),)), "exact"),
    case(
        "gather/embedding-sum",
        lambda w, p, i: w[i] + p[: i.shape[1]],
        lambda n: (randn(n(1000, 50), 96), randn(512, 96), ints(n(1000, 50), 3, n(257, 17))),
    ),
    case("gather/along-rows", lambda x, i: x.gather(1, i), lambda n: (randn(n(257, 17), 100), ints(100, n(257, 17), 31)), "exact"),
    case(
        "gather/two-indices",
        lambda x, i, j: x[i, j] * 2,
        lambda n: (randn(n(257, 17), 100), ints(n(257, 17), 333), ints(100, 333)),
        "exact",
    ),
    case("gather/negative", lambda x, i: x[i], lambda n: (randn(n(257, 17), 10), ints(n(257, 17), 99, low=-n(257, 17))), "exact"),
    case("gather/index-select", lambda x, i: (x.index_select(1, i), x.take(i)), lambda n: (randn(n(257, 17), 100), ints(100, 33)), "exact"),
    Case("gather/bag", lambda n: (nn.EmbeddingBag(n(1000, 50), 24, mode="sum"), (ints(n(1000, 50), n(65, 9), 7),))),
    case(
        "scatter/index-add",
        lambda x, i, y: x.index_add(0, i, y),
        lambda n: (randn(n(333, 13), 24), ints(n(333, 13), n(1001, 41)), randn(n(1001, 41), 24)),
    ),
    case(
        "scatter/index-add-atomic",
        lambda x, i, y: x.index_add(0, i, y),
        lambda n: (randn(n(333, 13), 24), ints(n(333, 13), n(1001, 41)), randn(n(1001, 41), 24)),
        scatter="atomic",
    ),
    case(
        "scatter/one-place",
        lambda x, i, y: x.index_add(0, i, y),
        lambda n: (randn(5, 24), torch.full((n(3001, 61),), 2), randn(n(3001, 61), 24)),
    ),
    case(
        "scatter/add", lambda x, i, y: x.scatter_add(1, i, y), lambda n: (randn(n(99, 9), 24), ints(24, n(99, 9), 77), randn(n(99, 9), 77))
    ),
    case(
        "scatter/integers",
        lambda x, i, y: x.scatter_add(0, i, y),
        lambda n: (ints(9, n(99, 19)), ints(n(99, 19), n(5001, 101)), ints(9, n(5001, 101))),
        "exact",
    ),
    case(
        "scatter/extrema",
        lambda x, i, y: (x.scatter_reduce(0, i, y, "amax"), x.scatter_reduce(0, i, y, "amin")),
        lambda n: (randn(n(99, 19)), ints(n(99, 19), n(5001, 101)), randn(n(5001, 101))),
        "exact",
    ),
    case(
        "scatter/mean",
        lambda x, i, y: x.scatter_reduce(0, i, y, "mean"),
        lambda n: (randn(n(99, 19)), ints(n(99, 19), n(5001, 101)), randn(n(5001, 101))),
    ),
    case(
        "scatter/put",
        lambda x, i, y: (x.index_put((i,), y), x.scatter(0, i[:, None].expand(-1, 24), y)),
        lambda n: (randn(n(333, 53), 24), torch.randperm(n(333, 53))[: n(99, 19)], randn(n(99, 19), 24)),
        "exact",
    ),
    case(
        "scatter/put-accumulate",
        lambda x, i, j, y: x.index_put((i, j), y, accumulate=True),
        lambda n: (randn(n(99, 19), 24), ints(n(99, 19), 333), ints(24, 333), randn(333)),
    ),
    case(
        "scatter/histogram",
        lambda i: torch.zeros(17, dtype=torch.int64, device=i.device).scatter_add(0, i, torch.ones_like(i)),
        lambda n: (ints(17, n(50001, 501)),),
        "exact",
    ),
    case(
        "scatter/bf16",
        lambda x, i, y: x.index_add(0, i, y),
        lambda n: (randn(n(333, 13), 24, dtype=bf16), torch.randperm(n(333, 13)), randn(n(333, 13), 24, dtype=bf16)),
    ),
    case("sort/values", lambda x: x.sort(-1), lambda n: (randn(n(129, 5), n(257, 37)),), "exact"),
    case(
        "sort/stable-integers", lambda x: x.sort(dim=-1, descending=True, stable=True), lambda n: (ints(9, n(129, 5), n(257, 37)),), "exact"
    ),
    case("sort/top-k", lambda x: x.topk(5, -1), lambda n: (randn(n(129, 5), n(1000, 50)),), "exact"),
    case("sort/arguments", lambda x: x.argsort(0), lambda n: (randn(n(129, 33), 7),), "exact"),
    case("sort/median", lambda x: (x.median(-1).values, x.kthvalue(3, -1).values), lambda n: (randn(n(129, 5), 101),), "exact"),
    case(
        "sort/search",
        lambda x, s: (torch.searchsorted(s, x), torch.bucketize(x, s, right=True)),
        lambda n: (randn(n(999, 99)), torch.linspace(-2, 2, 33)),
        "exact",
    ),
)

SCANS = (
    case("scan/sum-rows", lambda x: x.cumsum(-1), lambda n: (randn(n(129, 9), n(1001, 101)),)),
    case("scan/sum-columns", lambda x: x.cumsum(0), lambda n: (randn(n(1001, 101), n(130, 13)),)),
    case("scan/sum-long", lambda x: x.cumsum(0), lambda n: (randn(n(200003, 2003)),)),
    case("scan/sum-integers", lambda x: x.cumsum(-1), lambda n: (ints(9, n(129, 9), n(1001, 101)),), "exact"),
    case("scan/products", lambda x: x.cumprod(-1), lambda n: (1 + 0.01 * randn(n(129, 9), n(301, 31)),)),
    case("scan/maxima", lambda x: x.cummax(-1), lambda n: (randn(n(129, 9), n(301, 31)),), "exact"),
    case("scan/logsumexp", lambda x: x.logcumsumexp(-1), lambda n: (randn(n(129, 9), n(301, 31)),)),
    case("scan/bf16", lambda x: x.cumsum(-1), lambda n: (randn(n(129, 9), n(301, 31), dtype=bf16),)),
    Case("scan/recurrence", lambda n: (Recurrence(), (torch.rand(n(9, 2), n(64, 12), n(48, 8)), randn(n(9, 2), n(64, 12), n(48, 8))))),
    case("scan/masked", lambda x: (x > 0).long().cumsum(-1) * 2, lambda n: (randn(n(129, 9), n(301, 31)),), "exact"),
)

INDICES: tuple[Case, ...] = (*INDEXING, *SCANS)
