"""State outside of modules that forward reaches: defaults, attributes of functions and classes, caches of functions."""

import functools

import pytest
import torch
from torch import nn

import tcomp
from tests.objects import describe


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4).requires_grad_(False)


class OfDefault(Base):
    def forward(self, x, seen=[]):  # noqa: B006 (what is meant)
        seen.append(x.sum())
        return self.linear(x) * len(seen)


class OfKeywordDefault(Base):
    def forward(self, x, *, seen={"n": 0}):  # noqa: B006 (what is meant)
        seen["n"] += 1
        return self.linear(x) * seen["n"]


def count_calls(x):
    count_calls.calls = getattr(count_calls, "calls", 0) + 1
    return x * count_calls.calls


class OfFunction(Base):
    def forward(self, x):
        return self.linear(count_calls(x))


class OfClass(Base):
    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return self.linear(x) * OfClass.calls


class OfClassList(Base):
    history = []  # noqa: RUF012 (what is meant)

    def forward(self, x):
        self.history.append(x.mean())
        return self.linear(x) + self.history[-1] * len(self.history)


def start_anew():
    for seen in (OfDefault.forward.__defaults__[0], OfKeywordDefault.forward.__kwdefaults__["seen"], OfClassList.history):
        seen.clear()
    OfKeywordDefault.forward.__kwdefaults__["seen"]["n"] = OfClass.calls = 0
    vars(count_calls).clear()


def list_outside():
    return describe([
        OfDefault.forward.__defaults__, OfKeywordDefault.forward.__kwdefaults__, vars(count_calls), OfClass.calls, OfClassList.history
    ])  # fmt: skip


@pytest.mark.parametrize("kind", [OfDefault, OfKeywordDefault, OfFunction, OfClass, OfClassList])
def test_state_outside_of_modules_is_assigned_at_every_call(kind):
    torch.manual_seed(0)
    module = kind().eval()
    found = []
    for compiled in (module, tcomp.compile(module)):
        start_anew()
        with torch.no_grad():
            results = [compiled(torch.full((2, 4), float(number))) for number in range(4)]
        found.append((results, list_outside()))
    start_anew()
    for ours, theirs in zip(found[1][0], found[0][0], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert found[1][1] == found[0][1]


@functools.lru_cache
def make_grid(size):
    return torch.linspace(-1, 1, size)


class Grid(nn.Module):
    @functools.lru_cache  # noqa: B019 (what is meant)
    def window(self, size):
        return make_grid(size) ** 2

    def forward(self, x):
        return x * self.window(x.shape[-1]) + make_grid(4)[0]


def test_caches_of_functions_hold_what_eager_made():
    module = Grid()
    make_grid.cache_clear()
    want = torch.ones(2, 5) * torch.linspace(-1, 1, 5) ** 2 - 1
    for _ in range(2):
        with torch.no_grad():
            compiled = tcomp.compile(module, fallback="error")
            for _ in range(2):
                torch.testing.assert_close(compiled(torch.ones(2, 5)), want)
        assert type(make_grid(5)) is torch.Tensor and type(module.window(5)) is torch.Tensor
        torch.testing.assert_close(module(torch.ones(2, 5)), want)
