"""Atomic merges that the hardware lacks, for generated Triton kernels, by compare-and-swap; see `tcomp.codegen.triton.support.basic`.

`base` is an address that exists, where points that do not exist swap an element for itself. `element` is the type of elements in
memory, and `bits` the integer of its width.
"""

from __future__ import annotations

from typing import Any

import triton.language as tl

from tcomp.codegen.triton.support.basic import combine_max, maximum, minimum


def any_of(x: Any) -> Any:
    """Whether any element is true."""
    return tl.reduce(x.to(tl.int32), None, combine_max) != 0


def read_shared(place: Any, bits: tl.constexpr) -> Any:
    """What memory has, by an atomic that changes nothing.

    All threads that hold copies of one element get one answer, so that they leave the loops below together.
    """
    nothing = tl.full(place.shape, 0, bits)
    return tl.atomic_cas(place, nothing, nothing, sem="relaxed")


def atomic_sum(base: Any, pointer: Any, value: Any, mask: Any, element: tl.constexpr, bits: tl.constexpr) -> Any:
    """Add to elements of memory."""
    place = tl.where(mask, pointer, base).to(tl.pointer_type(bits))
    old = read_shared(place, bits)
    pending = mask
    while any_of(pending):
        new = old.to(element, bitcast=True).to(value.dtype) + value
        found = tl.atomic_cas(place, old, tl.where(pending, new.to(element).to(bits, bitcast=True), old), sem="relaxed")
        pending = pending & (found != old)
        old = found


def atomic_prod(base: Any, pointer: Any, value: Any, mask: Any, element: tl.constexpr, bits: tl.constexpr) -> Any:
    """Multiply elements of memory."""
    place = tl.where(mask, pointer, base).to(tl.pointer_type(bits))
    old = read_shared(place, bits)
    pending = mask
    while any_of(pending):
        new = old.to(element, bitcast=True).to(value.dtype) * value
        found = tl.atomic_cas(place, old, tl.where(pending, new.to(element).to(bits, bitcast=True), old), sem="relaxed")
        pending = pending & (found != old)
        old = found


def atomic_max(base: Any, pointer: Any, value: Any, mask: Any, element: tl.constexpr, bits: tl.constexpr) -> Any:
    """Raise elements of memory to a value, NaN over everything."""
    place = tl.where(mask, pointer, base).to(tl.pointer_type(bits))
    old = read_shared(place, bits)
    pending = mask
    while any_of(pending):
        new = maximum(old.to(element, bitcast=True).to(value.dtype), value)
        found = tl.atomic_cas(place, old, tl.where(pending, new.to(element).to(bits, bitcast=True), old), sem="relaxed")
        pending = pending & (found != old)
        old = found


def atomic_min(base: Any, pointer: Any, value: Any, mask: Any, element: tl.constexpr, bits: tl.constexpr) -> Any:
    """Lower elements of memory to a value, NaN over everything."""
    place = tl.where(mask, pointer, base).to(tl.pointer_type(bits))
    old = read_shared(place, bits)
    pending = mask
    while any_of(pending):
        new = minimum(old.to(element, bitcast=True).to(value.dtype), value)
        found = tl.atomic_cas(place, old, tl.where(pending, new.to(element).to(bits, bitcast=True), old), sem="relaxed")
        pending = pending & (found != old)
        old = found
