"""Loops over time steps, as people write them: filters, delays, gated recurrences."""

import pytest
import torch
from compiled import check, random
from torch import nn


class Delay(nn.Module):
    """Each sample and the one before it; the first has none."""

    def forward(self, x):
        outputs = [x[:, 0]]
        for t in range(1, x.shape[1]):
            outputs.append(x[:, t] + 0.5 * x[:, t - 1])
        return torch.stack(outputs, 1)


class Filter(nn.Module):
    """A recursive filter of two delays."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        x = x.movedim(self.dim, 0)
        before = earlier = torch.zeros_like(x[0])
        outputs = []
        for sample in x:
            before, earlier = sample + 0.5 * before - 0.2 * earlier, before
            outputs.append(before)
        return torch.stack(outputs, self.dim)


@pytest.mark.parametrize("shape", [(5, 6), (1, 30), (5, 99), (64, 64)])
def test_delays(shape):
    check(Delay(), random(*shape))


@pytest.mark.parametrize("dim", [-1, 0])
@pytest.mark.parametrize("shape", [(5, 6), (30, 1), (99, 5), (3, 8, 7)])
def test_filters(shape, dim):
    check(Filter(dim), random(*shape))


def test_a_gated_recurrence_in_windows(monkeypatch):
    """The products with all inputs take more than a few caches, so they are computed for some steps at a time."""
    monkeypatch.setattr("tcomp.passes.guess.windows.WORTH", 0)
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(192, 64, generator=generator) / 8, requires_grad=False) for _ in range(2)]

    class Gru(nn.Module):
        def __init__(self):
            super().__init__()
            self.inputs, self.states = weights

        def forward(self, x):
            h, outputs = torch.zeros_like(x[0]), []
            for t in range(len(x)):
                (r, z, n), (hr, hz, hn) = (x[t] @ self.inputs.T).chunk(3, -1), (h @ self.states.T).chunk(3, -1)
                z = (z + hz).sigmoid()
                h = (1 - z) * (n + (r + hr).sigmoid() * hn).tanh() + z * h
                outputs.append(h)
            return torch.stack(outputs), h

    monkeypatch.setenv("TCOMP_TARGET", TINY)
    compiled = check(Gru(), random(45, 4, 64))
    assert "steps 44 .. 45" in compiled.schedule
    assert compiled.memory.arena < 45 * 4 * 192 * 4


TINY = """target "small caches" { isa "x86_64 avx2 fma f16c" vector 256 bits 16 registers cores 2
cache 32768, 98304, 1048576 compiler "gcc" }"""
