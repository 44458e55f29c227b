"""Pooling over windows: reductions whose index is that of a convolution without weights, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tcomp.ir.dtypes import compute_dtype, i64
from tcomp.ir.expressions import ZERO, Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import (
    Point,
    conjunction,
    flat_position,
    lowest,
    product,
    spatial_rank,
    statics,
    unflat_position,
    zero,
)
from tcomp.lowerings.scalars import Scalar, call, literal, maximum, minimum, ordinal
from tcomp.lowerings.table import lowers
from tcomp.lowerings.windows import Window, make_windows, positions, transpose_windows

aten = torch.ops.aten
Sizes = Sequence[int] | int


@lowers(aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default)
def max_pool_with_indices(
    build: Builder,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Largest element of each window, and its position among the input's places."""
    windows = _windows(build, kernel_size, stride, padding, dilation)
    lead = x.rank - len(windows)

    def places(free: Point, folded: Point) -> Point:
        return positions(windows, free[lead:], folded)

    is_cut = ceil_mode or any(w.padding for w in windows)
    return largest(build, x, _count_taps(windows, x.shape[lead:]), places, is_cut=is_cut)


def largest(
    build: Builder, x: Array, kernel: Sequence[Index], places: Callable[[Point, Point], Point], *, is_cut: bool
) -> tuple[Array, Array]:
    """The largest of the elements at `places(free, taps)`, and its position; `is_cut` says that some places lie outside.

    Two reductions, so that nothing carries positions where only the values are used.
    """
    lead = x.rank - len(kernel)
    extents = x.shape[lead:]

    def read(free: Point, folded: Point) -> Scalar:
        return x.at(*free[:lead], *places(free, folded), outside=lowest(x.dtype) if is_cut else None)

    def inside(free: Point, folded: Point) -> Scalar:
        bounds = [
            (ordinal(place) >= 0) & (ordinal(place) < ordinal(extent)) for place, extent in zip(places(free, folded), extents)
        ]
        found = conjunction(bounds)
        assert found is not None
        return found

    values = build.reduce("max", build.shape, kernel, x.dtype, read)
    # A window of nothing but minus infinity has its largest element inside, too.
    where = inside if is_cut else None
    _, taps = build.reduce_state("argmax", build.shape, kernel, read, hints=("largest", "tap"), where=where)

    def position(*ranks: Index) -> Scalar:
        found = places(ranks, tuple(unflat_position(taps.at(*ranks).as_index(), kernel)))
        return ordinal(flat_position(found, extents))

    return values, build.map(taps.shape, taps.dtype, position, hint="position")


@lowers(aten.max_pool2d_with_indices_backward.default, aten.max_pool3d_with_indices_backward.default)
def max_pool_backward(build: Builder, gradient: Array, x: Array, *arguments: object) -> Array:
    """Send the gradient of each window to the place of its largest element."""
    indices = arguments[-1]
    assert isinstance(indices, Array)
    return send_to_places(build, gradient, indices)


def send_to_places(build: Builder, gradient: Array, indices: Array) -> Array:
    """Emit `Z[n, I[n, p]] += G[n, p]`, with positions row-major over the last dimensions."""
    lead = gradient.rank - spatial_rank(build)
    wide = compute_dtype(gradient.dtype)
    extents = build.shape[lead:]
    sums = build.scatter(
        None,
        [*build.shape[:lead], product(extents)],
        wide,
        gradient.shape,
        "sum",
        lambda *ranks: gradient.at(*ranks).to(wide),
        lambda *ranks: [*ranks[:lead], indices.at(*ranks).as_index()],
        hint="flat",
    )

    def element(*ranks: Index) -> Scalar:
        return sums.at(*ranks[:lead], flat_position(ranks[lead:], extents))

    return build.map(build.shape, build.dtype, element)


@lowers(aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default)
def avg_pool(
    build: Builder,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Mean of each window: its sum over the count of its elements, or over a given divisor."""
    windows = _windows(build, kernel_size, stride, padding, 1)
    lead = x.rank - len(windows)
    wide = compute_dtype(x.dtype)
    outside = zero(x.dtype) if ceil_mode or any(w.padding for w in windows) else None

    def read(free: Point, folded: Point) -> Scalar:
        return x.at(*free[:lead], *positions(windows, free[lead:], folded), outside=outside).to(wide)

    sums = build.reduce("sum", build.shape, _count_taps(windows, x.shape[lead:]), wide, read, hint="sum")
    counts = _Counts(windows, x.shape[lead:], ceil_mode, count_include_pad, divisor_override)
    # PyTorch truncates the mean of integers.
    division = "div" if wide.is_float else "truncdiv"
    return build.map(
        build.shape, build.dtype, lambda *ranks: call(division, sums.at(*ranks), counts.at(ranks[lead:]).to(wide))
    )


@lowers(aten.avg_pool2d_backward.default, aten.avg_pool3d_backward.default)
def avg_pool_backward(
    build: Builder,
    gradient: Array,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Spread the gradient of each window evenly over its elements."""
    windows = _windows(build, kernel_size, stride, padding, 1)
    lead = x.rank - len(windows)
    wide = compute_dtype(x.dtype)
    counts = _Counts(windows, x.shape[lead:], ceil_mode, count_include_pad, divisor_override)
    shares = build.map(
        gradient.shape, wide, lambda *ranks: gradient.at(*ranks).to(wide) / counts.at(ranks[lead:]).to(wide), hint="share"
    )

    def element(free: Point, folded: Point, places: Point, taps: Point) -> Scalar:
        return shares.at(*free, *places, outside=0.0)

    spread = transpose_windows(build, windows, x.shape[:lead], x.shape[lead:], (), wide, element)
    return build.cast(spread, build.dtype)


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many elements the mean of a window is taken over."""

    windows: tuple[Window, ...]
    extents: tuple[Index, ...]
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None

    def at(self, places: Sequence[Index]) -> Scalar:
        """The count for an output place, as an integer."""
        if self.divisor_override is not None:
            return literal(self.divisor_override, i64)
        total = literal(1, i64)
        whole = 1
        for w, extent, place in zip(self.windows, self.extents, places):
            if not self.ceil_mode and (self.count_include_pad or not w.padding):
                whole *= w.kernel.constant
            else:
                total = total * self._cut(w, extent, place)
        return total * whole

    def _cut(self, window: Window, extent: Index, place: Index) -> Scalar:
        start = ordinal(window.position(place, ZERO))
        end = minimum(start + window.kernel.constant, ordinal(extent + window.padding))
        if not self.count_include_pad:
            start, end = maximum(start, 0), minimum(end, ordinal(extent))
        return end - start


def _count_taps(windows: Sequence[Window], extents: Sequence[Index]) -> list[Index]:
    """Taps along each dimension: a window may be much larger than its input, to pool all of it whatever its size."""
    return [window.count_taps(extent) for window, extent in zip(windows, extents, strict=True)]


def _windows(build: Builder, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> tuple[Window, ...]:
    count = spatial_rank(build)
    sizes = statics(kernel, count, "a kernel size")
    return make_windows(
        sizes,
        statics(stride, count, "a stride") or sizes,
        statics(padding, count, "a padding"),
        statics(dilation, count, "a dilation"),
    )
