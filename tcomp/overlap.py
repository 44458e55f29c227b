"""Which tensors share memory: the bytes between the first and the last element of each, as strides lead there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

Span: TypeAlias = tuple[object, int, int]
"""What the memory belongs to, and where in it a tensor starts and ends, in bytes."""


def span_of(tensor: Tensor) -> Span:
    """The memory of a tensor; that of one without elements is empty."""
    if isinstance(tensor, FakeTensor) or tensor.is_meta:
        # Without an address, memory is known by its storage alone.
        owner: object = tensor.untyped_storage()._cdata
        start = int(tensor.storage_offset()) * tensor.element_size()
    else:
        owner, start = tensor.device, tensor.data_ptr()
    if not tensor.numel():
        return owner, start, start
    last = sum((int(size) - 1) * int(stride) for size, stride in zip(tensor.shape, tensor.stride()))
    return owner, start, start + (last + 1) * tensor.element_size()


def find_overlaps(written: Sequence[Tensor], others: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of positions in `written` and `others` whose spans meet, a tensor and itself among them.

    Interleaved tensors, such as the even and the odd elements of one, count as meeting.
    """
    # By owner: where spans start, in order, with their ends and numbers, and how far any up to there reaches.
    spans: dict[object, list[tuple[int, int, int]]] = {}
    for number, tensor in enumerate(written):
        owner, start, end = span_of(tensor)
        spans.setdefault(owner, []).append((start, end, number))
    reach = {}
    for owner, found in spans.items():
        found.sort()
        reach[owner] = list(accumulate((end for _, end, _ in found), max))
    for position, other in enumerate(others):
        owner, start, end = span_of(other)
        found = spans.get(owner, [])
        place = bisect_left(found, (end,)) - 1 if start < end else -1
        while place >= 0 and reach[owner][place] > start:
            first, last, number = found[place]
            if first < last and last > start:
                yield number, position
            place -= 1
