"""Atomic merges that the hardware lacks, for generated Triton kernels, by compare-and-swap; see `tcomp.codegen.triton_support`.

`base` is an address that exists, where points that do not exist swap an element for itself. `bits` is the integer type of an
element's width.
"""

from __future__ import annotations

from typing import Any

import triton.language as tl

from tcomp.codegen.triton_support import combine_max, maximum, minimum


def any_of(x: Any) -> Any:
    """Whether any element is true."""
    return tl.reduce(x.to(tl.int32), None, combine_max) != 0


def swap(place: Any, old: Any, new: Any, pending: Any, bits: tl.constexpr) -> Any:
    """Put new elements where they are pending and memory still has the old ones; what memory had."""
    expected = old.to(bits, bitcast=True)
    wanted = tl.where(pending, new.to(bits, bitcast=True), expected)
    return tl.atomic_cas(place.to(tl.pointer_type(bits)), expected, wanted, sem="relaxed")


def atomic_sum(base: Any, pointer: Any, value: Any, mask: Any, bits: tl.constexpr) -> Any:
    """Add to elements of memory."""
    place = tl.where(mask, pointer, base)
    old = tl.load(place)
    pending = mask
    while any_of(pending):
        found = swap(place, old, (old.to(value.dtype) + value).to(old.dtype), pending, bits)
        pending = pending & (found != old.to(bits, bitcast=True))
        old = found.to(old.dtype, bitcast=True)


def atomic_prod(base: Any, pointer: Any, value: Any, mask: Any, bits: tl.constexpr) -> Any:
    """Multiply elements of memory."""
    place = tl.where(mask, pointer, base)
    old = tl.load(place)
    pending = mask
    while any_of(pending):
        found = swap(place, old, (old.to(value.dtype) * value).to(old.dtype), pending, bits)
        pending = pending & (found != old.to(bits, bitcast=True))
        old = found.to(old.dtype, bitcast=True)


def atomic_max(base: Any, pointer: Any, value: Any, mask: Any, bits: tl.constexpr) -> Any:
    """Raise elements of memory to a value, NaN over everything."""
    place = tl.where(mask, pointer, base)
    old = tl.load(place)
    pending = mask
    while any_of(pending):
        found = swap(place, old, maximum(old.to(value.dtype), value).to(old.dtype), pending, bits)
        pending = pending & (found != old.to(bits, bitcast=True))
        old = found.to(old.dtype, bitcast=True)


def atomic_min(base: Any, pointer: Any, value: Any, mask: Any, bits: tl.constexpr) -> Any:
    """Lower elements of memory to a value, NaN over everything."""
    place = tl.where(mask, pointer, base)
    old = tl.load(place)
    pending = mask
    while any_of(pending):
        found = swap(place, old, minimum(old.to(value.dtype), value).to(old.dtype), pending, bits)
        pending = pending & (found != old.to(bits, bitcast=True))
        old = found.to(old.dtype, bitcast=True)
