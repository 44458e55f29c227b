"""The tile programs written by hand, with inputs for each and what numpy computes in their place."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
from conftest import GOLDENS

from tcomp.ir.parse.tile import parse_kernel

NAMES = sorted(path.name for path in GOLDENS.glob("tile_*.txt"))


@dataclass(frozen=True)
class Case:
    """Inputs by name in float64 (and integers), sizes of symbols, and the expected values of the arguments written."""

    inputs: dict[str, numpy.ndarray]
    expected: dict[str, numpy.ndarray]
    symbols: dict[str, int]


def random(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape)


def matmul():
    x, w, b = random(37, 45), random(45, 50, seed=1), random(50, seed=2)
    return Case({"X": x, "W": w, "b": b}, {"Y": numpy.maximum(x @ w + b, 0)}, {})


def attention(size):
    def make():
        q, k, v = (random(2, size, 16, seed=seed) for seed in range(3))
        scores = numpy.where(numpy.tri(size, dtype=bool), q @ k.transpose(0, 2, 1) / 4, -numpy.inf)
        return Case({"Q": q, "K": k, "V": v}, {"O": softmax_of(scores) @ v}, {"S": size})

    return make


def softmax_of(x):
    e = numpy.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax():
    x = random(7, 50)
    return Case({"X": x}, {"Y": softmax_of(x)}, {})


def layer_norm():
    x, w, b = random(10, 40), random(40, seed=1), random(40, seed=2)
    normal = (x - x.mean(1, keepdims=True)) / numpy.sqrt(x.var(1, keepdims=True) + 1e-5)
    return Case({"X": x, "w": w, "b": b}, {"Y": normal * w + b}, {})


def convolution():
    x, w = random(3, 9, 11), random(3, 3, 3, 8, seed=1)
    padded = numpy.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = numpy.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    return Case({"X": x, "W": w}, {"Y": numpy.einsum("cpqrs,crsk->kpq", windows, w)}, {})


def gather(size):
    def make():
        ids, table = numpy.random.default_rng(3).integers(0, 13, size), random(13, 40)
        return Case({"I": ids, "E": table}, {"Y": table[ids]}, {"T": size})

    return make


def scatter(size):
    def make():
        ids, g, table = numpy.random.default_rng(3).integers(0, 5, size), random(size, 40), random(13, 40, seed=1)
        expected = table.copy()
        numpy.add.at(expected, ids[ids != 0], g[ids != 0])
        return Case({"I": ids, "G": g, "E": table}, {"E": expected}, {"T": size})

    return make


def masked(size):
    def make():
        x, mask, y = random(size, 3), random(size, seed=1) > 0, random(3, size, seed=2)
        memory = numpy.full((size, 4), numpy.nan)
        memory[:, :3] = x
        new = numpy.tanh(x).T + numpy.arange(size)
        return Case({"X": memory.reshape(-1), "M": mask, "Y": y}, {"Y": numpy.where(mask, new, y)}, {"N": size})

    return make


def argmax(rows, columns):
    def make():
        x = numpy.round(random(rows, columns))
        x[0] = -numpy.inf
        x[1:2, columns // 2 :] = numpy.nan
        return Case({"X": x}, {"Y": numpy.argmax(x, 1)}, {"R": rows, "N": columns})

    return make


CASES: list[tuple[str, Callable[[], Case]]] = [
    ("tile_matmul.txt", matmul),
    ("tile_softmax.txt", softmax),
    ("tile_layer_norm.txt", layer_norm),
    ("tile_convolution.txt", convolution),
    *(("tile_attention.txt", attention(size)) for size in (1, 8, 21)),
    *(("tile_gather.txt", gather(size)) for size in (1, 9)),
    *(("tile_scatter.txt", scatter(size)) for size in (1, 30)),
    *(("tile_masked.txt", masked(size)) for size in (1, 16, 19)),
    *(("tile_argmax.txt", argmax(*shape)) for shape in ((1, 1), (3, 8), (5, 29))),
]


def read_kernel(name):
    return parse_kernel((GOLDENS / name).read_text())
