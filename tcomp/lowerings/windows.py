"""Sliding windows: the index maps of convolution and pooling, and of their transposes.

A window of K taps over one dimension links input place h, output place p and tap r where

    h = stride * p + dilation * r - padding        0 <= r < K

Forward, an einsum has p and r for ranks and h is an index. Transposed, h and a rank j are given, and p and r are found from
them so that no rank runs in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Index, as_index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point, conjunction, static
from tcomp.lowerings.scalars import Scalar, ordinal


@dataclass(frozen=True, slots=True)
class Window:
    """A window along one dimension."""

    kernel: Index
    stride: int
    padding: int
    dilation: int = 1

    def position(self, place: Index, tap: Index) -> Index:
        """The input place that a tap of an output place reads."""
        return place * self.stride + tap * self.dilation - self.padding

    def count_taps(self, extent: Index) -> Index:
        """The taps, from the first on, that reach an input of an extent from some output place; the rest read outside it from all."""
        if not (extent.is_constant and self.kernel.is_constant):
            return self.kernel
        return as_index(min(self.kernel.constant, max(1, -(-(extent.constant + self.padding) // self.dilation))))

    @property
    def has_phases(self) -> bool:
        """Whether the transpose splits h into a block and a phase: the taps that reach h depend on h modulo the stride."""
        return self.stride > 1 and self.dilation == 1

    @property
    def first_block(self) -> int:
        """The first block, counted in strides, that the transpose has to make."""
        return self.padding // self.stride


def make_windows(
    kernel: Sequence[Index | int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[Window, ...]:
    """One window a dimension."""
    return tuple(Window(as_index(k), s, p, d) for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True))


def positions(windows: Sequence[Window], places: Sequence[Index], taps: Sequence[Index]) -> Point:
    """The input places read from output places by taps."""
    return tuple(w.position(p, r) for w, p, r in zip(windows, places, taps, strict=True))


Element = Callable[[Point, Point, Point, Point], Scalar]
"""From leading ranks, reduced ranks, output places and taps to an element."""


def transpose_windows(
    build: Builder,
    windows: Sequence[Window],
    lead: Sequence[Index],
    extents: Sequence[Index],
    reduced: Sequence[Index],
    dtype: DType,
    element: Element,
    *,
    zero_beyond_kernel: bool = False,
) -> Array:
    """Emit `Z[i, h] = sum(r, (p, s) that reach h) element(i, r, p, s)`: the transpose of reading windows.

    With stride 1, `p = h + padding - dilation * s`. With a larger stride and no dilation, h + padding = stride * b + f, and the
    taps are `s = f + stride * j`, the places `p = b - j`, so that only ceil(K / stride) values of j are summed:

        T[i, f, b] = sum(r, j) element(i, r, b - j, f + stride * j)
        Z[i, h]    = T[i, (h + padding) % stride, (h + padding) // stride]

    With both, a predicate keeps the taps that fit. Places may lie outside [0, P): element must state outside values; taps beyond
    the kernel are left out by a predicate, unless `zero_beyond_kernel` says that element is zero there anyway.
    """
    reach = _Reach(tuple(windows), len(lead), len(reduced), zero_beyond_kernel)
    phased = reach.phased
    phases = [as_index(windows[d].stride) for d in phased]
    blocks = [(e - 1 + w.padding) // w.stride - w.first_block + 1 if w.has_phases else e for w, e in zip(windows, extents)]
    counts = [as_index(-(-static(w.kernel, "a kernel size") // w.stride)) if w.has_phases else w.kernel for w in windows]

    def value(free: Point, folded: Point) -> Scalar:
        places, taps = reach.solve(free, folded)
        return element(free[: len(lead)], folded[: len(reduced)], places, taps)

    shape, folds = [*lead, *phases, *blocks], [*reduced, *counts]
    where = reach.find_condition if reach.is_conditional else None
    hint = "phases" if phased else "sum"
    sums = build.reduce("sum", shape, folds, dtype, value, where=where, hint=hint)
    if not phased:
        return sums

    def source(*ranks: Index) -> list[Index]:
        spatial = ranks[len(lead) :]
        shifted = [spatial[d] + w.padding for d, w in enumerate(windows)]
        phase = [shifted[d] % windows[d].stride for d in phased]
        block = [shifted[d] // w.stride - w.first_block if w.has_phases else spatial[d] for d, w in enumerate(windows)]
        return [*ranks[: len(lead)], *phase, *block]

    return build.view(sums, [*lead, *extents], source)


@dataclass(frozen=True, slots=True)
class _Reach:
    """Which places and taps reach an input place.

    Free ranks are the leading ones, the phases, and a block or position for each window; reduced ranks are those of the caller and
    one that counts taps for each window.
    """

    windows: tuple[Window, ...]
    lead: int
    reduced: int
    zero_beyond_kernel: bool

    @property
    def phased(self) -> list[int]:
        """The windows whose taps depend on a phase."""
        return [d for d, w in enumerate(self.windows) if w.has_phases]

    def _block(self, free: Point, d: int) -> Index:
        return free[self.lead + len(self.phased) + d]

    def _tap(self, free: Point, folded: Point, d: int) -> Index:
        j = folded[self.reduced + d]
        return free[self.lead + self.phased.index(d)] + j * self.windows[d].stride if d in self.phased else j

    def _start(self, free: Point, folded: Point, d: int) -> Index:
        """The stride times the place, for a window without phases."""
        window = self.windows[d]
        return self._block(free, d) + window.padding - folded[self.reduced + d] * window.dilation

    def solve(self, free: Point, folded: Point) -> tuple[Point, Point]:
        """The places and taps at a point."""
        places = tuple(
            self._block(free, d) + w.first_block - folded[self.reduced + d] if w.has_phases else self._start(free, folded, d) // w.stride
            for d, w in enumerate(self.windows)
        )
        return places, tuple(self._tap(free, folded, d) for d in range(len(self.windows)))

    def _may_exceed(self, window: Window) -> bool:
        """Whether the last taps of some phases lie beyond the kernel."""
        return window.has_phases and not self.zero_beyond_kernel and static(window.kernel, "a kernel size") % window.stride != 0

    @property
    def is_conditional(self) -> bool:
        """Whether places and taps exist at some points only."""
        return any(self._may_exceed(w) or (w.stride > 1 and not w.has_phases) for w in self.windows)

    def find_condition(self, free: Point, folded: Point) -> Scalar:
        """Whether the places and taps at a point exist."""
        conditions: list[Scalar] = []
        for d, w in enumerate(self.windows):
            if self._may_exceed(w):
                conditions.append(ordinal(self._tap(free, folded, d)) < ordinal(w.kernel))
            elif w.stride > 1 and not w.has_phases:
                conditions.append(ordinal(self._start(free, folded, d) % w.stride).equals(0))
        found = conjunction(conditions)
        assert found is not None
        return found
