"""Slices of every shape, returned as views or used, with sizes that change: values, strides and shared memory are eager's."""

import pytest
import torch
from compiled import Function, check_same
from torch.nn import functional

import tcomp

SLICES = {
    "chunks": lambda x: x.chunk(3),
    "parts of two": lambda x: x.split(2),
    "parts of given sizes": lambda x: x.split([1, x.shape[0] - 1]),
    "even parts": lambda x: x.tensor_split(3),
    "parts between positions": lambda x: x.tensor_split((1, 4)),
    "columns": lambda x: x.unbind(1),
    "narrowed": lambda x: (x.narrow(0, 1, x.shape[0] - 1), x.narrow(0, x.shape[0] // 2, 2)),
    "rows from the end and the middle": lambda x: (x.select(0, x.shape[0] - 1), x[-1], x[x.shape[0] // 2]),
    "strided": lambda x: (x[::2], x[1::2], x[:-1], x[x.shape[0] - 2 :]),
    "windows": lambda x: x.unfold(0, 2, 2),
    "views of chunks": lambda x: [view(chunk) for view, chunk in zip((torch.t, torch.ravel, torch.flipud), x.chunk(3))],
    "a tensor and parts of it": lambda x: next((y, *y.chunk(3), y[1:].t()) for y in [x * 2]),
    "sums of chunks": lambda x: sum(chunk.sum() * number for number, chunk in enumerate(x.chunk(3))),
    "a chunk of the input, written": lambda x: (x.chunk(3)[1].add_(5), x),
    "a chunk of a copy, written": lambda x: next((y.chunk(3)[1].add_(5), y) for y in [x * 1]),
}


def rows(count: int) -> torch.Tensor:
    return torch.arange(3.0 * count).reshape(count, 3)


def find_shared(tensors):
    owners = [tensor.untyped_storage().data_ptr() for tensor in tensors]
    return [[a == b for a in owners] for b in owners]


def fill_up(x):
    return functional.pad(x, (0, 0, 0, -x.shape[0] % 4)).reshape(-1, 4, x.shape[1]).sum(1)


def add_halves(x):
    first, second = x.chunk(2)
    return first + second * 2, fill_up(x)


WAYS = pytest.mark.parametrize("way", ["tcomp.compile", "torch.compile"])


@WAYS
@pytest.mark.parametrize("name", SLICES)
def test_slices_with_sizes_that_change(name, way):
    function = SLICES[name]
    torch._dynamo.reset()
    if way == "tcomp.compile":
        compiled = tcomp.compile(Function(function), (rows(6),), dynamic=True, fallback="silent")
    else:
        compiled = torch.compile(function, backend="tcomp", dynamic=True, options={"fallback": "silent"})
    for count in (6, 9, 7):
        ours, theirs = rows(count), rows(count)
        with torch.no_grad():
            got, want = ([*r] if isinstance(r, (tuple, list)) else [r] for r in (compiled(ours), function(theirs)))
        check_same([*got], [*want])
        check_same(ours, theirs)
        assert find_shared([ours, *got]) == find_shared([theirs, *want])


CHANGING = {
    "halves, and rows filled up to a multiple": (add_halves, [rows(count) for count in (6, 8, 12)]),
    "rows filled up": (fill_up, [rows(count) for count in (6, 9, 7, 4)]),
    "inputs that are slices": (lambda x: (x.sum(1), x + 1), [rows(12).view(4, 9)[:, :5], rows(22).view(6, 11)[:, :7]]),
    "inputs that are turned slices": (lambda x: (x.sum(1), x + 1), [rows(12).view(4, 9)[1:, :5].t(), rows(22).view(6, 11)[2:, :7].t()]),
}


@WAYS
@pytest.mark.parametrize("name", CHANGING)
def test_sizes_that_turn_out_to_change(name, way):
    function, inputs = CHANGING[name]
    torch._dynamo.reset()
    compiled = tcomp.compile(Function(function), inputs[:1]) if way == "tcomp.compile" else torch.compile(function, backend="tcomp")
    with torch.no_grad():
        for x in inputs:
            check_same(compiled(x), function(x))
