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

    @property
    def has_phases(self) -> bool:
        """Whether the transpose splits h into a block and a phase: the taps that reach h depend on h modulo the stride."""
        return self.stride > 1 and self.dilation == 1


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
    phased = [d for d, w in enumerate(windows) if w.has_phases]
    phases = [as_index(windows[d].stride) for d in phased]
    first = {d: windows[d].padding // windows[d].stride for d in phased}
    blocks = [
        (extent - 1 + w.padding) // w.stride - first[d] + 1 if d in first else extent
        for d, (w, extent) in enumerate(zip(windows, extents))
    ]
    counts = [
        as_index(-(-static(w.kernel, "a kernel size") // w.stride)) if w.has_phases else w.kernel for w in windows
    ]
    outer, inner = len(lead), len(reduced)

    def solve(free: Point, folded: Point) -> tuple[Point, Point, Scalar | None]:
        """The places and taps at a point, and the condition under which they exist."""
        places: list[Index] = []
        taps: list[Index] = []
        conditions: list[Scalar] = []
        for d, w in enumerate(windows):
            here, j = free[outer + len(phased) + d], folded[inner + d]
            if w.has_phases:
                tap = free[outer + phased.index(d)] + j * w.stride
                places.append(here + first[d] - j)
                taps.append(tap)
                if not zero_beyond_kernel and w.kernel.constant % w.stride:
                    conditions.append(ordinal(tap) < ordinal(w.kernel))
                continue
            start = here + w.padding - j * w.dilation
            places.append(start // w.stride)
            taps.append(j)
            if w.stride > 1:
                conditions.append(ordinal(start % w.stride).equals(0))
        return tuple(places), tuple(taps), conjunction(conditions)

    def value(free: Point, folded: Point) -> Scalar:
        places, taps, _ = solve(free, folded)
        return element(free[:outer], folded[:inner], places, taps)

    def condition(free: Point, folded: Point) -> Scalar:
        found = solve(free, folded)[2]
        assert found is not None
        return found

    shape, folds = [*lead, *phases, *blocks], [*reduced, *counts]
    probe = solve(tuple(as_index(f"f{d}") for d in range(len(shape))), tuple(as_index(f"r{d}") for d in range(len(folds))))
    is_conditional = probe[2] is not None
    hint = "phases" if phased else "sum"
    sums = build.reduce("sum", shape, folds, dtype, value, where=condition if is_conditional else None, hint=hint)
    if not phased:
        return sums

    def source(*ranks: Index) -> list[Index]:
        spatial = ranks[outer:]
        shifted = [spatial[d] + w.padding for d, w in enumerate(windows)]
        phase = [shifted[d] % windows[d].stride for d in phased]
        block = [shifted[d] // w.stride - first[d] if d in first else spatial[d] for d, w in enumerate(windows)]
        return [*ranks[:outer], *phase, *block]

    return build.view(sums, [*lead, *extents], source)
