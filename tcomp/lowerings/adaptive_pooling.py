"""Adaptive pooling: the output's places share the input's among them, evenly or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tcomp.ir.dtypes import compute_dtype, i64
from tcomp.ir.expressions import Index, as_index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.pooling import largest, send_to_places
from tcomp.lowerings.positions import Point, conjunction, spatial_rank, static
from tcomp.lowerings.scalars import Scalar, literal, minimum, ordinal
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Share:
    """How `places` divide `extent` elements: place p has those from floor(p * e / n) to ceil((p + 1) * e / n).

    Seen from the elements the formula is the same with e and n exchanged: these are the places that an element belongs to.
    """

    extent: int
    places: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of every share."""
        return tuple(-(-(p + 1) * self.extent // self.places) - p * self.extent // self.places for p in range(self.places))

    @property
    def is_even(self) -> bool:
        """Whether all shares have one size."""
        return len(set(self.sizes)) <= 1

    @property
    def longest(self) -> int:
        """The size of the largest share."""
        return max(self.sizes, default=0)

    @property
    def reversed(self) -> Share:
        """The places that each element belongs to."""
        return Share(self.places, self.extent)

    def start(self, place: Index) -> Index:
        """The first element of a share."""
        return place * self.extent // self.places

    def size(self, place: Index) -> Scalar:
        """The size of a share."""
        if self.is_even:
            return literal(self.longest, i64)
        end = (place * self.extent + (self.extent + self.places - 1)) // self.places
        return ordinal(end - self.start(place))

    def clamped(self, place: Index, tap: Index) -> Index:
        """The element number `tap` of a share, or its last where it has fewer."""
        position = self.start(place) + tap
        if self.is_even:
            return position
        return minimum(ordinal(position), ordinal(self.start(place)) + self.size(place) - 1).as_index()

    def holds(self, place: Index, tap: Index) -> Scalar:
        """Whether a share has an element number `tap`."""
        return ordinal(tap) < self.size(place)


@lowers(aten.adaptive_avg_pool1d.default, aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default)
def adaptive_avg_pool(build: Builder, x: Array, output_size: Sequence[int] | int) -> Array:
    """Mean of each share."""
    shares = _shares(build, x.shape, build.shape)
    lead = x.rank - len(shares)
    wide = compute_dtype(x.dtype)
    sums = _sum_shares(build, x, shares, build.shape)

    def mean(*ranks: Index) -> Scalar:
        return sums.at(*ranks) / _size(shares, ranks[lead:]).to(wide)

    return build.map(build.shape, build.dtype, mean)


@lowers(aten._adaptive_avg_pool2d_backward.default, aten._adaptive_avg_pool3d_backward.default)
def adaptive_avg_pool_backward(build: Builder, gradient: Array, x: Array) -> Array:
    """Spread the gradient of each share evenly over its elements."""
    shares = _shares(build, x.shape, gradient.shape)
    lead = x.rank - len(shares)
    wide = compute_dtype(x.dtype)

    def part(*ranks: Index) -> Scalar:
        return gradient.at(*ranks).to(wide) / _size(shares, ranks[lead:]).to(wide)

    parts = build.map(gradient.shape, wide, part, hint="share")
    return build.cast(_sum_shares(build, parts, [s.reversed for s in shares], x.shape), build.dtype)


@lowers(aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default)
def adaptive_max_pool(build: Builder, x: Array, output_size: Sequence[int] | int) -> tuple[Array, Array]:
    """Largest element of each share, and its position among the input's places.

    A short share reads its last element more than once: the first of equal elements is the one that counts.
    """
    shares = _shares(build, x.shape, build.shape)
    lead = x.rank - len(shares)

    def places(free: Point, folded: Point) -> Point:
        return tuple(s.clamped(free[lead + d], folded[d]) for d, s in enumerate(shares))

    return largest(build, x, [as_index(s.longest) for s in shares], places, is_cut=False)


@lowers(aten.adaptive_max_pool2d_backward.default, aten.adaptive_max_pool3d_backward.default)
def adaptive_max_pool_backward(build: Builder, gradient: Array, x: Array, indices: Array) -> Array:
    """Send the gradient of each share to the place of its largest element."""
    return send_to_places(build, gradient, indices)


def _shares(build: Builder, inputs: Sequence[Index], outputs: Sequence[Index]) -> tuple[Share, ...]:
    count = spatial_rank(build)
    pairs = zip(inputs[-count:], outputs[-count:])
    return tuple(Share(static(e, "a pooled size"), static(n, "a size to pool to")) for e, n in pairs)


def _size(shares: Sequence[Share], places: Sequence[Index]) -> Scalar:
    total = literal(1, i64)
    for share, place in zip(shares, places):
        size = share.size(place)
        total = size if total == literal(1, i64) else total * size
    return total


def _sum_shares(build: Builder, x: Array, shares: Sequence[Share], shape: Sequence[Index]) -> Array:
    """The sum over each share, in the computing type."""
    lead = x.rank - len(shares)
    wide = compute_dtype(x.dtype)
    is_uneven = any(not s.is_even for s in shares)

    def read(free: Point, folded: Point) -> Scalar:
        places = [s.start(free[lead + d]) + folded[d] for d, s in enumerate(shares)]
        return x.at(*free[:lead], *places, outside=0.0 if is_uneven else None).to(wide)

    def inside(free: Point, folded: Point) -> Scalar:
        found = conjunction([s.holds(free[lead + d], folded[d]) for d, s in enumerate(shares) if not s.is_even])
        assert found is not None
        return found

    longest = [as_index(s.longest) for s in shares]
    return build.reduce("sum", shape, longest, wide, read, where=inside if is_uneven else None, hint="sum")
