"""Convolutions and their gradients: three contractions over windows, of which each operator is one or several.

    correlate            Y[n, k, p] = sum(c, r) X[n, c, s*p + d*r - pad] * W[k, c, r]
    correlate_transposed X[n, c, h] = sum(k, (p, r) that reach h) Y[n, k, p] * W[k, c, r]
    correlate_weight     W[k, c, r] = sum(n, p) Y[n, k, p] * X[n, c, s*p + d*r - pad]

A transposed convolution is the second with X for its result, so its gradients are the other two. Groups are an index of the
channels: k belongs to group k // (K / groups), whose inputs are the channels from that times C / groups on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.expressions import ONE, ZERO, Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point, static, statics, zero
from tcomp.lowerings.scalars import Scalar
from tcomp.lowerings.table import lowers
from tcomp.lowerings.windows import Window, make_windows, positions, transpose_windows

aten = torch.ops.aten
Sizes = Sequence[int]


@lowers(aten.convolution.default)
def convolution(
    build: Builder,
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Array:
    """Convolution in any number of dimensions, plain or transposed, with groups."""
    windows = _windows(weight, stride, padding, dilation)
    if transposed:
        y = correlate_transposed(build, x, weight, windows, build.shape, static(groups, "groups"))
    else:
        y = correlate(build, x, weight, windows, build.shape, static(groups, "groups"))
    if bias is not None:
        wide = y.dtype
        return build.map(y.shape, build.dtype, lambda n, k, *places: y.at(n, k, *places) + bias.at(k).to(wide))
    return build.cast(y, build.dtype)


@lowers(aten.convolution_backward.default)
def convolution_backward(
    build: Builder,
    gradient: Array,
    x: Array,
    weight: Array,
    bias_sizes: Sizes | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Gradients of a convolution: of input, weight and bias, those that the mask asks for."""
    windows = _windows(weight, stride, padding, dilation)
    count = static(groups, "groups")
    found: list[Array | None] = [None, None, None]
    if output_mask[0]:
        back = correlate if transposed else correlate_transposed
        found[0] = build.cast(back(build, gradient, weight, windows, x.shape, count), x.dtype)
    if output_mask[1]:
        image, places = (gradient, x) if transposed else (x, gradient)
        found[1] = build.cast(correlate_weight(build, image, places, windows, weight.shape, count), weight.dtype)
    if output_mask[2]:
        found[2] = _bias_gradient(build, gradient)
    return tuple(found)


def correlate(
    build: Builder, x: Array, weight: Array, windows: Sequence[Window], shape: Sequence[Index], groups: int
) -> Array:
    """Emit `Y[n, k, p] = sum(c, r) X[n, c, window(p, r)] * W[k, c, r]`, summed and left in the computing type."""
    wide = compute_dtype(x.dtype)
    channels = weight.shape[1]
    per_group = weight.shape[0] // groups
    outside = _outside(x, windows)

    def element(free: Point, folded: Point) -> Scalar:
        n, k, *places = free
        c, taps = _split_channel(folded, groups, channels)
        source = x.at(n, _member(k // per_group, channels, c, groups), *positions(windows, places, taps), outside=outside)
        return source.to(wide) * weight.at(k, c, *taps).to(wide)

    return build.reduce("sum", shape, _with_channel(channels, groups, weight.shape[2:]), wide, element, hint="sum")


def correlate_transposed(
    build: Builder, y: Array, weight: Array, windows: Sequence[Window], shape: Sequence[Index], groups: int
) -> Array:
    """Emit `X[n, c, h] = sum(k, (p, r) that reach h) Y[n, k, p] * W[k, c, r]`, left in the computing type."""
    wide = compute_dtype(y.dtype)
    per_group = weight.shape[0] // groups
    channels = weight.shape[1]
    is_partial = any(w.has_phases and w.kernel.constant % w.stride for w in windows)

    def element(lead: Point, folded: Point, places: Point, taps: Point) -> Scalar:
        n, c = lead
        k, _ = _split_channel(folded, groups, per_group)
        row = _member(c // channels, per_group, k, groups)
        column = c if groups == 1 else c % channels
        kernel = weight.at(row, column, *taps, outside=zero(weight.dtype) if is_partial else None)
        return y.at(n, row, *places, outside=zero(y.dtype)).to(wide) * kernel.to(wide)

    reduced = _with_channel(per_group, groups, ())
    return transpose_windows(build, windows, shape[:2], shape[2:], reduced, wide, element, zero_beyond_kernel=True)


def correlate_weight(
    build: Builder, x: Array, y: Array, windows: Sequence[Window], shape: Sequence[Index], groups: int
) -> Array:
    """Emit `W[k, c, r] = sum(n, p) Y[n, k, p] * X[n, c, window(p, r)]`, left in the computing type."""
    wide = compute_dtype(x.dtype)
    per_group = shape[0] // groups
    outside = _outside(x, windows)

    def element(free: Point, folded: Point) -> Scalar:
        k, c, *taps = free
        n, *places = folded
        source = x.at(n, _member(k // per_group, shape[1], c, groups), *positions(windows, places, taps), outside=outside)
        return y.at(n, k, *places).to(wide) * source.to(wide)

    return build.reduce("sum", shape, [y.shape[0], *y.shape[2:]], wide, element, hint="weight")


def _bias_gradient(build: Builder, gradient: Array) -> Array:
    wide = compute_dtype(gradient.dtype)

    def element(free: Point, folded: Point) -> Scalar:
        n, *places = folded
        return gradient.at(n, free[0], *places).to(wide)

    reduced = [gradient.shape[0], *gradient.shape[2:]]
    return build.cast(build.reduce("sum", [gradient.shape[1]], reduced, wide, element, hint="bias"), gradient.dtype)


def _windows(weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> tuple[Window, ...]:
    count = weight.rank - 2
    return make_windows(
        weight.shape[2:],
        statics(stride, count, "a stride"),
        statics(padding, count, "a padding"),
        statics(dilation, count, "a dilation"),
    )


def _outside(x: Array, windows: Sequence[Window]) -> int | float | bool | None:
    return zero(x.dtype) if any(w.padding for w in windows) else None


def _with_channel(channels: Index, groups: int, kernel: Sequence[Index]) -> list[Index]:
    """The reduced ranks: with one channel a group there is no rank for it, so that depthwise convolutions have a plain index."""
    return [*kernel] if groups > 1 and channels == ONE else [channels, *kernel]


def _split_channel(folded: Point, groups: int, channels: Index) -> tuple[Index, Point]:
    return (ZERO, folded) if groups > 1 and channels == ONE else (folded[0], folded[1:])


def _member(group: Index, size: Index, index: Index, groups: int) -> Index:
    """The channel `index` of a group."""
    return index if groups == 1 else group * size + index
