"""Resampling on regular grids: each output place is a weighted sum of a few input places of each dimension.

    Y[n, p, q] = sum(r, s) X[n, I[p, r], J[q, s]] * (U[p, r] * V[q, s])

The tables I, J of places and U, V of weights depend on sizes alone. The gradient is the same sum, scattered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tcomp.ir.dtypes import DType, compute_dtype, f32, i64
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index, as_index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point, spatial_rank
from tcomp.lowerings.scalars import Scalar, absolute, call, literal, maximum, minimum, ordinal, select
from tcomp.lowerings.table import lowers

aten = torch.ops.aten
Sizes = Sequence[Index | int]

CUBIC = -0.75
"""The free coefficient of the cubic kernel, as PyTorch has it (Keys 1981 takes -0.5)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """One dimension: `scale` takes an output place to an input place."""

    extent: Index
    scale: Scalar
    align_corners: bool

    def source(self, place: Index) -> Scalar:
        """The input place of an output place, as a real number."""
        position = ordinal(place, self.scale.dtype)
        if self.align_corners:
            return position * self.scale
        return self.scale * (position + 0.5) - 0.5


@dataclass(frozen=True, slots=True)
class Taps:
    """Tables of one dimension: for each output place the input places that it sums and their weights (None: one, of weight 1)."""

    places: Array
    weights: Array | None


def make_grid(inputs: Index, outputs: Index, align_corners: bool, scale: float | None, dtype: DType) -> Grid:
    """The map from output places to input places: a given scale counts, unless corners are aligned."""
    if align_corners:
        if outputs == as_index(1):
            return Grid(inputs, literal(0.0, dtype), True)
        return Grid(inputs, ordinal(inputs - 1, dtype) / ordinal(outputs - 1, dtype), True)
    if scale is not None and scale > 0:
        return Grid(inputs, literal(1.0 / scale, dtype), False)
    return Grid(inputs, ordinal(inputs, dtype) / ordinal(outputs, dtype), False)


def linear_taps(build: Builder, grid: Grid, outputs: Index) -> Taps:
    """The two neighbours, each weighted by the distance to the other."""

    def position(place: Index) -> Scalar:
        return maximum(grid.source(place), 0.0)

    def first(place: Index) -> Scalar:
        return minimum(position(place).to(i64), ordinal(grid.extent - 1))

    def place(p: Index, r: Index) -> Scalar:
        return minimum(first(p) + ordinal(r), ordinal(grid.extent - 1))

    def weight(p: Index, r: Index) -> Scalar:
        share = minimum(maximum(position(p) - first(p).to(grid.scale.dtype), 0.0), 1.0)
        return select(ordinal(r).equals(0), 1.0 - share, share)

    return _tables(build, grid, outputs, 2, place, weight)


def cubic_taps(build: Builder, grid: Grid, outputs: Index) -> Taps:
    """The four neighbours, weighted by the cubic convolution kernel."""

    def place(p: Index, r: Index) -> Scalar:
        start = call("floor", grid.source(p)).to(i64)
        return maximum(minimum(start + ordinal(r - 1), ordinal(grid.extent - 1)), 0)

    def weight(p: Index, r: Index) -> Scalar:
        position = grid.source(p)
        return cubic_weight(position - call("floor", position), ordinal(r - 1, grid.scale.dtype))

    return _tables(build, grid, outputs, 4, place, weight)


def cubic_weight(share: Scalar, tap: Scalar) -> Scalar:
    """The weight of the tap -1, 0, 1 or 2 at a distance `share` from tap 0."""
    distance = absolute(share - tap)
    near = ((CUBIC + 2.0) * distance - (CUBIC + 3.0)) * distance * distance + 1.0
    far = ((CUBIC * distance - 5.0 * CUBIC) * distance + 8.0 * CUBIC) * distance - 4.0 * CUBIC
    return select(distance <= 1.0, near, far)


def nearest_taps(build: Builder, grid: Grid, outputs: Index, exact: bool) -> Taps:
    """The one input place below, or with `exact` the nearest one."""

    def place(p: Index) -> Scalar:
        position = ordinal(p, grid.scale.dtype)
        source = (position + 0.5) * grid.scale if exact else position * grid.scale
        return minimum(source.to(i64), ordinal(grid.extent - 1))

    return Taps(build.map([outputs], i64, place, hint="places"), None)


def _tables(
    build: Builder,
    grid: Grid,
    outputs: Index,
    taps: int,
    place: Callable[[Index, Index], Scalar],
    weight: Callable[[Index, Index], Scalar],
) -> Taps:
    shape = [outputs, as_index(taps)]
    return Taps(build.map(shape, i64, place, hint="places"), build.map(shape, grid.scale.dtype, weight, hint="weights"))


def resample(build: Builder, x: Array, taps: Sequence[Taps]) -> Array:
    """Emit the weighted sums of the last dimensions."""
    lead = x.rank - len(taps)
    if all(t.weights is None for t in taps):
        return build.view(
            x,
            build.shape,
            lambda *ranks: [*ranks[:lead], *(t.places.at(ranks[lead + d]).as_index() for d, t in enumerate(taps))],
        )
    wide = compute_dtype(x.dtype)

    def element(free: Point, folded: Point) -> Scalar:
        places, weight = _read_taps(taps, free[lead:], folded)
        return x.at(*free[:lead], *places).to(wide) * weight

    counts = [t.places.shape[1] for t in taps]
    return build.cast(build.reduce("sum", build.shape, counts, wide, element, hint="sum"), build.dtype)


def send_back(build: Builder, gradient: Array, taps: Sequence[Taps]) -> Array:
    """Emit the transpose of `resample`: each gradient goes, weighted, to the places it was summed from."""
    lead, outputs = gradient.rank - len(taps), gradient.rank
    wide = compute_dtype(gradient.dtype)
    is_weighted = any(t.weights is not None for t in taps)
    counts = [t.places.shape[1] for t in taps] if is_weighted else []

    def read(ranks: Point) -> tuple[Point, Scalar | None]:
        if not is_weighted:
            return tuple(t.places.at(p).as_index() for t, p in zip(taps, ranks[lead:])), None
        return _read_taps(taps, ranks[lead:outputs], ranks[outputs:])

    def element(*ranks: Index) -> Scalar:
        weight = read(ranks)[1]
        value = gradient.at(*ranks[:outputs]).to(wide)
        return value if weight is None else value * weight

    sums = build.scatter(
        None,
        build.shape,
        wide,
        [*gradient.shape, *counts],
        "sum",
        element,
        lambda *ranks: [*ranks[:lead], *read(ranks)[0]],
        hint="sum",
    )
    return build.cast(sums, build.dtype)


def _read_taps(taps: Sequence[Taps], places: Sequence[Index], numbers: Sequence[Index]) -> tuple[Point, Scalar]:
    """The input places of taps, and the product of their weights."""
    total: Scalar | None = None
    for t, p, r in zip(taps, places, numbers, strict=True):
        assert t.weights is not None
        weight = t.weights.at(p, r)
        total = weight if total is None else total * weight
    assert total is not None
    return tuple(t.places.at(p, r).as_index() for t, p, r in zip(taps, places, numbers)), total


@lowers(
    aten.upsample_linear1d.default,
    aten.upsample_bilinear2d.default,
    aten.upsample_trilinear3d.default,
    aten.upsample_bicubic2d.default,
)
def upsample_smooth(build: Builder, x: Array, output_size: Sizes, align_corners: bool, *scales: float | None) -> Array:
    """Linear or cubic interpolation to a size."""
    return resample(build, x, _smooth_taps(build, x.dtype, x.shape, build.shape, align_corners, scales))


@lowers(
    aten.upsample_linear1d.vec,
    aten.upsample_bilinear2d.vec,
    aten.upsample_trilinear3d.vec,
    aten.upsample_bicubic2d.vec,
)
def upsample_smooth_by(
    build: Builder, x: Array, output_size: Sizes | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> Array:
    """Linear or cubic interpolation to a size or by factors."""
    return resample(build, x, _smooth_taps(build, x.dtype, x.shape, build.shape, align_corners, scale_factors or ()))


@lowers(
    aten.upsample_linear1d_backward.default,
    aten.upsample_bilinear2d_backward.default,
    aten.upsample_trilinear3d_backward.default,
    aten.upsample_bicubic2d_backward.default,
)
def upsample_smooth_backward(
    build: Builder, gradient: Array, output_size: Sizes, input_size: Sizes, align_corners: bool, *scales: float | None
) -> Array:
    """Gradient of linear or cubic interpolation."""
    taps = _smooth_taps(build, gradient.dtype, build.shape, gradient.shape, align_corners, scales)
    return send_back(build, gradient, taps)


@lowers(
    aten.upsample_nearest1d.default,
    aten.upsample_nearest2d.default,
    aten.upsample_nearest3d.default,
    aten._upsample_nearest_exact1d.default,
    aten._upsample_nearest_exact2d.default,
    aten._upsample_nearest_exact3d.default,
)
def upsample_nearest(build: Builder, x: Array, output_size: Sizes, *scales: float | None) -> Array:
    """The element of the nearest input place."""
    return resample(build, x, _nearest_taps(build, x.dtype, x.shape, build.shape, scales))


@lowers(
    aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest3d.vec,
    aten._upsample_nearest_exact1d.vec,
    aten._upsample_nearest_exact2d.vec,
    aten._upsample_nearest_exact3d.vec,
)
def upsample_nearest_by(
    build: Builder, x: Array, output_size: Sizes | None, scale_factors: Sequence[float] | None
) -> Array:
    """The element of the nearest input place, for a size or factors."""
    return resample(build, x, _nearest_taps(build, x.dtype, x.shape, build.shape, scale_factors or ()))


@lowers(
    aten.upsample_nearest1d_backward.default,
    aten.upsample_nearest2d_backward.default,
    aten.upsample_nearest3d_backward.default,
    aten._upsample_nearest_exact1d_backward.default,
    aten._upsample_nearest_exact2d_backward.default,
    aten._upsample_nearest_exact3d_backward.default,
)
def upsample_nearest_backward(
    build: Builder, gradient: Array, output_size: Sizes, input_size: Sizes, *scales: float | None
) -> Array:
    """Sum the gradients of all places that took an element."""
    return send_back(build, gradient, _nearest_taps(build, gradient.dtype, build.shape, gradient.shape, scales))


def _smooth_taps(
    build: Builder,
    dtype: DType,
    inputs: Sequence[Index],
    outputs: Sequence[Index],
    align_corners: bool,
    scales: Sequence[float | None],
) -> list[Taps]:
    if not dtype.is_float:
        raise Unsupported(f"interpolation of {dtype}, which PyTorch does in fixed point")
    count = spatial_rank(build)
    make = cubic_taps if "cubic" in _operator_name(build) else linear_taps
    found: list[Taps] = []
    for d in range(-count, 0):
        grid = make_grid(inputs[d], outputs[d], align_corners, scales[d] if scales else None, compute_dtype(dtype))
        found.append(make(build, grid, outputs[d]))
    return found


def _nearest_taps(
    build: Builder, dtype: DType, inputs: Sequence[Index], outputs: Sequence[Index], scales: Sequence[float | None]
) -> list[Taps]:
    is_exact = "exact" in _operator_name(build)
    # PyTorch finds the places of nearest neighbours in f32, whatever is moved.
    grids = [
        make_grid(inputs[d], outputs[d], False, scales[d] if scales else None, f32) for d in range(-spatial_rank(build), 0)
    ]
    return [nearest_taps(build, g, outputs[d - len(grids)], is_exact) for d, g in enumerate(grids)]


def _operator_name(build: Builder) -> str:
    assert build.node is not None
    return str(build.node.target)
