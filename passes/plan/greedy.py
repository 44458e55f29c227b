"""Addresses in the arena: greedy by size over lifetimes, so that tensors never alive together may share memory.

A tensor lives from the step that writes it to the last step that reads it. Tensors of static size are placed largest first, each at the
lowest offset free during its lifetime (best known as greedy by size; TensorFlow Lite's planner). Tensors of symbolic size follow one
after another, an earlier one's place being taken over by a later tensor of the same size.
"""

from __future__ import annotations

from tcomp.ir.expressions import Index, as_index
from tcomp.passes.plan.lifetimes import Lifetime, align, overlap, symbolic_align


def place_tensors(lifetimes: tuple[Lifetime, ...]) -> tuple[dict[str, Index], Index]:
    """Byte offsets by name, and the size of the arena."""
    offsets: dict[str, Index] = {}
    placed: list[tuple[int, int, Lifetime]] = []
    static = sorted((t for t in lifetimes if t.size.is_constant), key=lambda t: (-t.size.constant, t.first, t.name))
    peak = 0
    for tensor in static:
        size = align(tensor.size.constant)
        offset = 0
        for low, high, _ in sorted((p for p in placed if overlap(p[2], tensor)), key=lambda p: p[:2]):
            if low >= offset + size:
                break
            offset = max(offset, high)
        placed.append((offset, offset + size, tensor))
        offsets[tensor.name] = as_index(offset)
        peak = max(peak, offset + size)
    total = as_index(peak)
    slots: list[tuple[Index, Index, int]] = []
    for tensor in sorted((t for t in lifetimes if not t.size.is_constant), key=lambda t: (t.first, t.name)):
        reuse = next((i for i, (_, size, last) in enumerate(slots) if size == tensor.size and last < tensor.first), None)
        if reuse is not None:
            offset_, size_, _ = slots[reuse]
            slots[reuse] = (offset_, size_, tensor.last)
            offsets[tensor.name] = offset_
            continue
        offsets[tensor.name] = total
        slots.append((total, tensor.size, tensor.last))
        total = total + symbolic_align(tensor.size)
    return offsets, total
