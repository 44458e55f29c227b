"""Windows as columns: im2col reads every window out, col2im sums columns back to where they came from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point, flat_position, statics, unflat_position, zero
from tcomp.lowerings.scalars import Scalar
from tcomp.lowerings.table import lowers
from tcomp.lowerings.windows import Window, make_windows, positions, transpose_windows

aten = torch.ops.aten
Sizes = Sequence[int]


@lowers(aten.im2col.default)
def im2col(build: Builder, x: Array, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Array:
    """Each window of two dimensions as a column of channels and taps."""
    windows = _windows(kernel_size, dilation, padding, stride)
    lead = x.rank - 3
    kernel = [w.kernel for w in windows]
    places = _places(windows, x.shape[-2:])

    def element(*ranks: Index) -> Scalar:
        channel, *taps = unflat_position(ranks[lead], [x.shape[lead], *kernel])
        source = positions(windows, unflat_position(ranks[lead + 1], places), taps)
        return x.at(*ranks[:lead], channel, *source, outside=zero(x.dtype))

    return build.map(build.shape, build.dtype, element)


@lowers(aten.col2im.default)
def col2im(
    build: Builder,
    columns: Array,
    output_size: Sequence[Index | int],
    kernel_size: Sizes,
    dilation: Sizes,
    padding: Sizes,
    stride: Sizes,
) -> Array:
    """The sum of all columns' elements, each at the place its window read it from."""
    windows = _windows(kernel_size, dilation, padding, stride)
    lead = columns.rank - 2
    kernel = [w.kernel for w in windows]
    wide = compute_dtype(columns.dtype)
    extents = build.shape[-2:]
    counts = _places(windows, extents)
    # Columns by channel, taps and places, so that a place beyond the windows is outside.
    split_shape = [*columns.shape[:lead], build.shape[lead], *kernel, *counts]

    def split_position(*ranks: Index) -> Sequence[Index]:
        rows = flat_position(ranks[lead : lead + 3], [build.shape[lead], *kernel])
        return [*ranks[:lead], rows, flat_position(ranks[lead + 3 :], counts)]

    split = build.view(columns, split_shape, split_position)

    def element(free: Point, folded: Point, places: Point, taps: Point) -> Scalar:
        return split.at(*free, *taps, *places, outside=zero(columns.dtype)).to(wide)

    summed = transpose_windows(
        build, windows, build.shape[:-2], extents, (), wide, element, zero_beyond_kernel=True
    )
    return build.cast(summed, build.dtype)


def _windows(kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> tuple[Window, ...]:
    return make_windows(
        statics(kernel, 2, "a kernel size"),
        statics(stride, 2, "a stride"),
        statics(padding, 2, "a padding"),
        statics(dilation, 2, "a dilation"),
    )


def _places(windows: Sequence[Window], extents: Sequence[Index]) -> list[Index]:
    """How many windows there are along each dimension."""
    return [
        (extent + 2 * w.padding - w.dilation * (w.kernel - 1) - 1) // w.stride + 1 for w, extent in zip(windows, extents)
    ]
