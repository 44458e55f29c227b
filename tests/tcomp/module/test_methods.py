"""Methods of the original that call the module: compiled where they are taken from the compiled module."""

import inspect

import pytest
import torch
from compiled import random
from torch import nn

import tcomp


class Base(nn.Module):
    def steps(self, x, count):
        for _ in range(count):
            x = self(x)
        return x


class Layer(Base):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8).requires_grad_(False)
        self.memory = "its own"
        self.calls = 0

    def forward(self, x):
        return self.linear(x).relu()

    def steps(self, x, count):
        """Repeat."""
        self.calls += 1
        assert self.memory == "its own" and isinstance(self, Layer) and type(self).__name__ != "CompiledModule"
        return super().steps(x, count) if count < 3 else self.steps(self.steps(x, count - 2), 2)

    def fail(self, x):
        self(x)
        raise KeyError("lost")

    def lazily(self, x):
        yield self(x)

    @torch.no_grad()
    def decorated(self, x):
        return self(x)

    @classmethod
    def name(cls):
        return cls.__name__


def count_calls(compiled, monkeypatch):
    """Calls of the compiled programs, as they come."""
    real, seen = compiled._tcomp.call, []
    monkeypatch.setattr(compiled._tcomp, "call", lambda args, kwargs: seen.append(args) or real(args, kwargs))
    return seen


def test_calls_within_methods_are_compiled(monkeypatch):
    module, x = Layer(), random(4, 8)
    compiled = tcomp.compile(module, (x,), fallback="error")
    seen = count_calls(compiled, monkeypatch)
    torch.testing.assert_close(compiled.steps(x, 5), module.steps(x, 5))
    assert len(seen) == 5 and len(compiled.programs) == 1
    torch.testing.assert_close(compiled.decorated(x), module(x))
    assert len(seen) == 6


def test_the_original_stays_as_it_is(monkeypatch):
    module, x = Layer(), random(4, 8)
    compiled = tcomp.compile(module, (x,))
    seen = count_calls(compiled, monkeypatch)
    before = dict(vars(module))
    with pytest.raises(KeyError, match="lost"):
        compiled.fail(x)
    assert vars(module) == before and len(seen) == 1
    compiled.steps(x, 1)
    assert module.calls == compiled.calls == 1
    module.steps(x, 1)
    torch.testing.assert_close(next(compiled.lazily(x)), module(x))
    assert len(seen) == 2


def test_methods_look_like_the_originals():
    compiled = tcomp.compile(Layer())
    assert inspect.ismethod(compiled.steps) and compiled.steps.__self__ is compiled.original
    assert compiled.steps.__doc__ == "Repeat." and list(inspect.signature(compiled.steps).parameters) == ["x", "count"]
    assert compiled.name() == "Layer"


def test_under_the_modules_own_compile_that_serves():
    module, x = Layer(), random(4, 8)
    compiled = tcomp.compile(module, (x,))
    module._compiled_call_impl = lambda x: x * 0
    assert not compiled.steps(x, 2).any()
    assert module._compiled_call_impl is not None


def test_a_call_that_takes_a_detour_within_a_method_sees_the_original():
    class Branching(Layer):
        def forward(self, x):
            return self.linear(x) if x.sum() > 0 else x

    module, x = Branching(), random(4, 8)
    compiled = tcomp.compile(module, fallback="silent")
    for sign in (1, -1):
        torch.testing.assert_close(compiled.steps(x.abs() * sign, 1), module.steps(x.abs() * sign, 1))
    assert compiled.detours and compiled.graphs
