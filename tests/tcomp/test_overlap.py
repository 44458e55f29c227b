"""Tensors share memory where their spans meet, whatever storage object they came by."""

import numpy
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tcomp.overlap import find_overlaps, span_of


def share(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool(list(find_overlaps([first], [second])))


def test_tensors_that_share_memory():
    x = torch.zeros(4, 6)
    memory = numpy.zeros(4)
    assert share(x, x)
    assert share(x, x[3])
    assert share(x[:, 0], x[:, 1])
    assert share(x.view(torch.int32), x[1:2, 2:])
    assert share(torch.from_numpy(memory), torch.from_numpy(memory))


def test_tensors_that_do_not():
    x = torch.zeros(4, 6)
    assert not share(x, x.clone())
    assert not share(x[:2], x[2:])
    assert not share(x[:0], x)
    assert not share(x, torch.zeros(0))


def test_positions_are_those_of_the_pairs():
    x = torch.zeros(4)
    assert list(find_overlaps([x[2:], x[:2]], [torch.zeros(1), x[:3], x[3:]])) == [(0, 1), (1, 1), (0, 2)]


def test_fake_tensors_are_known_by_their_storage():
    with FakeTensorMode():
        x = torch.zeros(4)
        assert share(x, x[1:])
        assert not share(x[:1], x[1:])
        assert not share(x, torch.zeros(4))
    meta = torch.zeros(4, device="meta")
    assert span_of(meta[1:])[1:] == (4, 16)
