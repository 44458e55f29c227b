"""Objects as arguments of modules, and how calls with them are compared with eager's."""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import tcomp
from tests.captures import Function


class Layer:
    """A layer of a cache that is filled in place, up to its length."""

    def __init__(self, length):
        self.length = length
        self.keys = None
        self.filled = 0

    def update(self, new):
        if self.keys is None:
            self.keys = new.new_zeros(self.length, new.shape[-1])
            self.count = torch.zeros((), dtype=torch.int64)
        place = torch.arange(new.shape[0]) + self.count
        self.keys.index_copy_(0, place, new)
        self.count.add_(new.shape[0])
        self.filled += new.shape[0]
        return self.keys


class Growing(Layer):
    def update(self, new):
        self.keys = new if self.keys is None else torch.cat([self.keys, new])
        self.filled += new.shape[0]
        return self.keys


class Cache:
    def __init__(self, kind, length=8):
        self.kind = kind
        self.length = length
        self.layers = []

    def update(self, new, index):
        while len(self.layers) <= index:
            self.layers.append(self.kind(self.length))
        return self.layers[index].update(new)


@dataclass
class Output:
    value: Tensor
    cache: Cache | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2)).requires_grad_(False)

    def forward(self, x, cache=None):
        for index, layer in enumerate(self.layers):
            keys = cache.update(layer(x), index)
            x = x + (x @ keys.mT).softmax(-1) @ keys
        return Output(x, cache)


class Cell:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def describe(value):
    """All that an object holds, to be compared."""
    match value:
        case Tensor():
            return value.dtype, value.stride(), value.tolist()
        case list() | tuple() | deque():
            return type(value), [describe(item) for item in value]
        case dict():
            return [(key, describe(item)) for key, item in value.items()]
        case _ if hasattr(value, "__dict__") and not isinstance(value, type):
            return type(value), describe(vars(value))
    return value


def check(function, *makers, calls=3, programs=None):
    """Compare calls of a module with eager's: what they return, and what they make of their arguments."""
    module = Function(function)
    compiled = tcomp.compile(module, fallback="error")
    ours, theirs = ([make() for make in makers] for _ in range(2))
    for _ in range(calls):
        assert describe(compiled(*ours)) == describe(module(*theirs))
        assert describe(ours) == describe(theirs)
    assert not compiled.detours
    if programs is not None:
        assert len(compiled.programs) == programs
    return compiled
