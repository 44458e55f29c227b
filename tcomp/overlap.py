"""Which tensors share memory: the bytes between the first and the last element of each, as strides lead there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    spans = [span_of(tensor) for tensor in written]
    for position, other in enumerate(others):
        owner, start, end = span_of(other)
        for number, (owned, first, last) in enumerate(spans):
            if start < last and first < end and owner == owned:
                yield number, position
