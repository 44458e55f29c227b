"""Joining, padding and turning against eager."""

from math import inf

import pytest
import torch

from tests.lowering_support import check

aten = torch.ops.aten
r = torch.randn

JOINS = {
    "two": ([r(2, 3), r(2, 4)], 1),
    "one wide": ([r(2, 3), r(2, 1), r(2, 2)], -1),
    "one": ([r(2, 3)], 0),
    "empty vectors": ([r(0), r(2, 3), r(0, 3)], 0),
    "all empty": ([r(0), r(0)], 0),
    "many": ([r(2, n % 3) for n in range(40)], 1),
    "mixed types": ([r(2, 3), torch.arange(4).view(2, 2), r(2, 1).double()], 1),
    "bools": ([r(2, 3) > 0, r(1, 3) > 0], 0),
}


@pytest.mark.parametrize(("tensors", "dim"), JOINS.values(), ids=JOINS.keys())
def test_cat(tensors, dim):
    check(lambda *tensors: aten.cat(tensors, dim), *tensors)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_stack(dim):
    check(lambda *tensors: aten.stack(tensors, dim), *(r(2, 3) for _ in range(5)), decompose=False)


@pytest.mark.parametrize("pad", [[1, 2], [1, 2, 0, 3], [-1, 2, 1, -2], [0, 0, 0, 0, 1, 0], []], ids=str)
def test_constant_pad(pad):
    x = r(3, 4, 5)
    check(lambda x: aten.constant_pad_nd(x, pad), x)
    check(lambda x: aten.constant_pad_nd(x, pad, 2.5), x.bfloat16())
    check(lambda x: aten.constant_pad_nd(x, pad, -inf), x)
    check(lambda x: aten.constant_pad_nd(x, pad, 3), (x * 9).long())
    check(lambda x: aten.constant_pad_nd(x, pad, 1), x > 0)


@pytest.mark.parametrize("kind", ["reflection", "replication"])
@pytest.mark.parametrize(("size", "pad"), [((2, 3, 4), [1, 2]), ((2, 3, 4, 5), [1, 2, 3, 0]), ((2, 2, 4, 5, 4), [1, 2, 2, 0, 1, 1])])
def test_padding_from_inside(kind, size, pad):
    torch.manual_seed(0)
    name = f"{kind}_pad{len(pad) // 2}d"
    forward, backward = getattr(aten, name).default, getattr(aten, f"{name}_backward").default
    x = r(size)
    gradient = torch.randn_like(forward(x, pad))
    check(lambda x: forward(x, pad), x, decompose=False)
    check(lambda x: forward(x, pad), x.bfloat16(), decompose=False)
    check(lambda g, x: backward(g, x, pad), gradient, x, terms=30, decompose=False)


@pytest.mark.parametrize(("size", "dims"), [((3, 4, 5), [0, -1]), ((3, 4, 5), []), ((3, 4), [1]), ((0, 2), [0])], ids=str)
def test_flip(size, dims):
    check(lambda x: aten.flip(x, dims), r(size))


@pytest.mark.parametrize(("shifts", "dims"), [([1, -7], [0, 2]), ([3], []), ([1, 2], [0, 0]), ([0], [1])])
def test_roll(shifts, dims):
    check(lambda x: aten.roll(x, shifts, dims), r(3, 4, 5), decompose=False)


def test_joining_moves_no_parts_out_of_bounds():
    """Each part is read at its own places alone, so a long list is searched by halving."""
    cascade = check(lambda *tensors: aten.cat(tensors), *(r(2) for _ in range(64)))
    (einsum,) = cascade.statements

    def depth(expression) -> int:
        return 1 + max((depth(a) for a in getattr(expression, "arguments", ())), default=0)

    assert depth(einsum.expression) <= 10


def test_symbolic_sizes():
    cascade = check(lambda a, b: aten.cat([a, b], 1), r(2, 3), r(2, 5), dynamic=True)
    assert cascade.symbols
