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


def test_all_pairs_are_found():
    generator = torch.Generator().manual_seed(0)
    memories = torch.zeros(12), torch.zeros(12)

    def draw(count):
        for first, size, which in torch.randint(0, 6, (count, 3), generator=generator).tolist():
            yield memories[which % 2][first : first + size]

    for _ in range(50):
        written, others = list(draw(6)), list(draw(8))
        wanted = {(i, j) for i, one in enumerate(written) for j, other in enumerate(others) if share(one, other)}
        assert set(find_overlaps(written, others)) == wanted
        assert all(bool({*range(a, b)} & {*range(c, d)}) == ((i, j) in wanted)
                   for i, (_, a, b) in enumerate(map(span_of, written)) for j, (_, c, d) in enumerate(map(span_of, others)))  # fmt: skip


def test_fake_tensors_are_known_by_their_storage():
    with FakeTensorMode():
        x = torch.zeros(4)
        assert share(x, x[1:])
        assert not share(x[:1], x[1:])
        assert not share(x, torch.zeros(4))
    meta = torch.zeros(4, device="meta")
    assert span_of(meta[1:])[1:] == (4, 16)
