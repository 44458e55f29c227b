"""Programs whose schedules depend on the machine: operands about as large as its caches, odd extents, blocks of networks."""

import functools

import torch
from torch.nn import functional

from tcomp.ir.target import Cpu
from tests.op_db_samples import Sample, Untraced, find_entries, find_samples, name_entry, trace

OPERATORS = (
    *("addbmm", "bmm", "cdist", "cumsum", "einsum", "index_add", "logsumexp", "matmul", "native_layer_norm", "baddbmm"),
    *("nn.functional.conv2d", "nn.functional.conv_transpose2d", "nn.functional.cross_entropy", "nn.functional.grid_sample"),
    *("nn.functional.group_norm", "nn.functional.interpolate.bilinear", "nn.functional.max_pool2d", "scatter_reduce.amax", "topk", "var"),
)
"""Entries of op_db whose first sample is tried on every machine."""


def random(*shape: int, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape))).to(dtype)


def make_programs(cpu: Cpu):
    """(name, function, inputs) of programs; those that say so are as large as the second cache of the machine."""
    matrices = max(2, cpu.l2 // (32 * 128 * 4))
    side = 32 * (int((cpu.l2 // 4) ** 0.5) // 32)
    yield "products of one panel each", lambda x, w: x @ w.mT, random(matrices, 32, 128), random(matrices, 32, 128)
    yield "products of several panels", lambda x, w: x @ w.mT, random(2, 37, side), random(2, 130, side)
    yield "a weight larger than the cache", lambda x: torch.relu(x @ weights(side + 9, side + 1)), random(7, side + 9)
    yield "a weight and many rows", lambda x: functional.gelu(x @ weights(side + 64, 70)), random(150, side + 64)
    yield "a pointwise convolution", lambda x: functional.conv2d(x, weights(128, side, 1, 1)), random(1, side, 7, 7)
    yield "scores larger than the cache", attend, *(random(2, side // 2 + 1, 24) for _ in range(3))
    yield "rows larger than the cache", lambda x: x.softmax(-1) + x.mean(-1, keepdim=True), random(3, cpu.l2 // 4 + 5)
    yield "columns", lambda x: (x.sum(0), x.softmax(0)), random(side + 1, 33)
    yield "a dense block", dense, random(1, 96, 9, 11)
    yield "an inception block", inception, random(1, 60, 10, 10)
    yield "windows with biases", windows, random(4, 64, 96)
    yield "strided convolutions of a signal", signal, random(1, 1, 1200)
    yield "a grouped and a depthwise convolution", grouped, random(2, 24, 13, 13)
    yield "a transposed convolution", lambda x: functional.conv_transpose2d(x, weights(12, 20, 3, 3), stride=2), random(1, 12, 9, 7)
    yield "norms", norms, random(3, 24, 11, 13)
    yield "a recurrence", recur, random(2, 17, 24)
    yield "narrow floats", lambda x, w: (x @ w.mT).softmax(-1), *(random(9, 65, 40, dtype=torch.bfloat16) for _ in range(2))
    yield "integers", lambda x: ((x * 3) % 7 == 2).sum(1), torch.arange(37 * 300).reshape(37, 300)


@functools.cache
def weights(*shape: int) -> torch.Tensor:
    """Numbers that a program holds, scaled as layers are; drawn when it first runs, so that tracing it later draws nothing."""
    return random(*shape) / torch.tensor(shape[1:]).prod().sqrt()


def attend(q, k, v):
    return torch.softmax(q @ k.mT / 5 + q[:, :, :1], -1) @ v


def dense(x):
    for layer in range(3):
        narrow = functional.conv2d(torch.relu(x * 1.1 + 0.1), weights(64, 96 + 16 * layer, 1, 1))
        x = torch.cat([x, functional.conv2d(torch.relu(narrow), weights(16, 64, 3, 3), padding=1)], 1)
    return functional.avg_pool2d(functional.conv2d(torch.relu(x), weights(72, 144, 1, 1)), 2)


def inception(x):
    pooled = functional.max_pool2d(x, 3, 1, 1, ceil_mode=True)
    wide = functional.conv2d(torch.relu(functional.conv2d(x, weights(24, 60, 1, 1))), weights(52, 24, 3, 3), padding=1)
    return torch.cat([functional.conv2d(x, weights(48, 60, 1, 1)), wide, functional.conv2d(pooled, weights(16, 60, 1, 1))], 1)


def windows(x):
    """Cosine attention in windows with a bias of positions, which an MLP makes, as Swin V2 has it."""
    q, k, v = (part.unflatten(-1, (3, 32)).transpose(1, 2) for part in (x @ weights(96, 288)).chunk(3, -1))
    scores = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).mT * 10
    bias = torch.relu(weights(64 * 64, 2) @ weights(2, 128)) @ weights(128, 3)
    mixed = (scores + 16 * torch.sigmoid(bias.T.reshape(3, 64, 64))).softmax(-1) @ v
    return functional.layer_norm(mixed.transpose(1, 2).flatten(2) @ weights(96, 96), (96,)) + x


def signal(x):
    """The first layers of a speech model, and its convolution of positions."""
    x = functional.gelu(functional.group_norm(functional.conv1d(x, weights(48, 1, 10), stride=5), 48))
    x = functional.gelu(functional.conv1d(x, weights(48, 48, 3), stride=2))
    return x + functional.gelu(functional.conv1d(x, weights(48, 12, 16), padding=8, groups=4)[..., :-1])


def grouped(x):
    return functional.conv2d(functional.conv2d(x, weights(30, 8, 3, 3), groups=3), weights(30, 1, 5, 5), padding=2, groups=30)


def norms(x):
    return functional.layer_norm(functional.group_norm(x, 4), x.shape[1:]) + functional.batch_norm(x, None, None, training=True)


def recur(x):
    state = torch.zeros(2, 24)
    for step in range(17):
        state = torch.tanh(state @ weights(24, 24) + x[:, step])
    return state, x.cumsum(1)


def make_samples(cpu: Cpu) -> list[Sample | Untraced]:
    """The programs, traced."""
    return [trace(f"{name} on {cpu.name}", function, list(tensors)) for name, function, *tensors in make_programs(cpu)]


def operator_samples() -> list[Sample]:
    """The first f32 samples of some operators."""
    names = set(OPERATORS)
    found = [next(iter(find_samples(entry, 1))) for entry in find_entries() if name_entry(entry) in names]
    return [sample for sample in found if isinstance(sample, Sample)]
