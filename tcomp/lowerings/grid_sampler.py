"""Sampling at given points: a gather whose index is computed from another tensor's floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch

from tcomp.ir.dtypes import compute_dtype, i64
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point
from tcomp.lowerings.resampling import cubic_weight
from tcomp.lowerings.scalars import Scalar, absolute, call, literal, maximum, minimum, ordinal, select
from tcomp.lowerings.table import lowers

aten = torch.ops.aten

LINEAR, NEAREST, CUBIC = range(3)
ZEROS, BORDER, REFLECTION = range(3)


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension that is sampled, and what lies beyond its edges."""

    extent: Index
    padding_mode: int
    align_corners: bool
    is_vectorised: bool
    """Whether PyTorch's kernel is the one of vectors, for two dimensions on a CPU: it treats what is no place in ways of its own."""
    nan_is_last: bool
    """Whether what is no number becomes the last place within the edges, instead of the first."""

    def unnormalise(self, coordinate: Scalar) -> Scalar:
        """From [-1, 1] to places."""
        size = ordinal(self.extent, i64).to(coordinate.dtype)
        if self.align_corners:
            return (coordinate + 1.0) / 2.0 * (size - 1.0)
        return ((coordinate + 1.0) * size - 1.0) / 2.0

    def pad(self, place: Scalar) -> Scalar:
        """Bring a place within the edges, unless zeros lie beyond them."""
        if self.padding_mode == ZEROS:
            return place if self.is_vectorised else self._keep_finite(place)
        last = ordinal(self.extent - 1, i64).to(place.dtype)
        inner = self._reflect(place) if self.padding_mode == REFLECTION else place
        # NaN is neither above nor below.
        if self.nan_is_last:
            return select(inner < last, maximum(inner, 0.0), last)
        return select(inner > 0.0, minimum(inner, last), 0.0)

    def _keep_finite(self, place: Scalar) -> Scalar:
        """Replace NaN and what no integer of 32 bits reaches by a place that is outside."""
        return select(absolute(place) < 2.0**31, place, -100.0)

    def _reflect(self, place: Scalar) -> Scalar:
        """Mirror at the first and last place, or half a place beyond them without aligned corners."""
        size = ordinal(self.extent, i64).to(place.dtype)
        low = literal(0.0 if self.align_corners else -0.5, place.dtype)
        span = size - 1.0 if self.align_corners else size
        offset = absolute(place - low)
        if self.is_vectorised:
            there_and_back = maximum(span + span, 1.0)
            rest = offset - call("trunc", offset / there_and_back) * there_and_back
            return select(span > 0.0, minimum(rest, there_and_back - rest) + low, 0.0)
        safe = maximum(span, 1.0)
        extra = call("fmod", offset, safe)
        flips = call("floor", offset / safe)
        is_even = call("fmod", flips, literal(2.0, place.dtype)).equals(0.0)
        mirrored = select(is_even, extra + low, span - extra + low)
        return select(span > 0.0, mirrored, 0.0)

    def index(self, place: Scalar) -> Index:
        """A whole place as an index; far outside it is brought near, since the conversion has its limits, and NaN is outside."""
        end = ordinal(self.extent, i64).to(place.dtype)
        return select(place > -1.0, minimum(place, end), -1.0).to(i64).as_index()


@lowers(aten.grid_sampler_2d.default, aten.grid_sampler_3d.default)
def grid_sampler(
    build: Builder, x: Array, grid: Array, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Array:
    """Sample at the points of a grid, whose last dimension holds coordinates from the last dimension to the first."""
    wide = compute_dtype(x.dtype)
    assert build.node is not None
    is_cpu, is_flat = build.node.meta["val"].device.type == "cpu", len(x.shape) == 4
    axes = [Axis(extent, padding_mode, align_corners, is_cpu and is_flat, is_cpu and not is_flat) for extent in x.shape[2:]]
    found = [_places(build, grid, axis, len(axes) - 1 - d, interpolation_mode) for d, axis in enumerate(axes)]

    def read(lead: Point, places: Sequence[Scalar]) -> Scalar:
        return x.at(*lead, *(axis.index(p) for axis, p in zip(axes, places)), outside=0.0).to(wide)

    def element(*ranks: Index) -> Scalar:
        lead, point = ranks[:2], (ranks[0], *ranks[2:])
        centres = [p.at(*point) for p in found]
        if interpolation_mode == NEAREST:
            return read(lead, [call("round", c) for c in centres])
        floors = [call("floor", c) for c in centres]
        shares = [c - f for c, f in zip(centres, floors)]
        total: Scalar | None = None
        for taps in product((0, 1) if interpolation_mode == LINEAR else (-1, 0, 1, 2), repeat=len(axes)):
            places = [f + float(t) for f, t in zip(floors, taps)]
            if interpolation_mode == CUBIC:
                places = [axis.pad(p) for axis, p in zip(axes, places)]
            term = read(lead, places)
            for share, t in zip(shares, taps):
                term = term * _weight(share, t, interpolation_mode)
            total = term if total is None else total + term
        assert total is not None
        return total

    return build.map(build.shape, build.dtype, element)


def _places(build: Builder, grid: Array, axis: Axis, component: int, interpolation_mode: int) -> Array:
    """Where each point lies along one dimension."""
    wide = compute_dtype(grid.dtype)

    def element(*ranks: Index) -> Scalar:
        place = axis.unnormalise(grid.at(*ranks, component).to(wide))
        # Cubic interpolation pads each of its taps instead.
        return place if interpolation_mode == CUBIC else axis.pad(place)

    return build.map(grid.shape[:-1], wide, element, hint="places")


def _weight(share: Scalar, tap: int, interpolation_mode: int) -> Scalar:
    if interpolation_mode == CUBIC:
        return cubic_weight(share, literal(float(tap), share.dtype))
    return share if tap else 1.0 - share
