"""How long the machine takes at least for the steps of a call, by its roofline and by where their data lies.

A tensor that no step of the call has touched before was last touched a call ago: everything that a call touches has passed through the
caches since, so it comes from where that fits. Whatever was touched before in this call may still be in the smallest cache that holds
what the kernel moves. So a bound is too low rather than too high.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tcomp.codegen.c.roofline import Roofline
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.passes.cost.work import Work, count_traffic
from tcomp.profiling.rows import Bound


@dataclass(frozen=True, slots=True)
class Touch:
    """Bytes that a step moves of one tensor, and the memory outside of the call's arena that this is; None for the arena."""

    outside: object | None
    bytes: int
    is_written: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """What a step needs of the machine."""

    operations: int
    dtype: str
    touches: tuple[Touch, ...]

    @property
    def bytes(self) -> int:
        """All that it moves."""
        return sum(touch.bytes for touch in self.touches)


def find_needs(work: Work, sizes: Mapping[str, int], outside: Sequence[object | None]) -> Needs:
    """The needs of a kernel at given sizes; `outside` tells of each tensor that it moves what memory that is."""
    touches = (Touch(o, count_traffic(t, sizes), t.is_written) for t, o in zip(work.traffic, outside, strict=True))
    return Needs(max(0, extent_value(work.operations, sizes)), work.dtype.name, tuple(touches))


def find_bounds(steps: Sequence[Needs], arena: int, roofline: Roofline) -> Iterator[Bound]:
    """The least time of each of the steps of a call, in order; the arena has so many bytes."""
    most: dict[object, int] = {}
    for step in steps:
        for touch in step.touches:
            if touch.outside is not None:
                most[touch.outside] = max(most.get(touch.outside, 0), touch.bytes)
    footprint = arena + sum(most.values())
    seen: set[object] = set()
    for step in steps:
        memory = 0.0
        for touch in step.touches:
            is_cold = touch.outside is not None and touch.outside not in seen
            rate = roofline.rate_at(footprint if is_cold else step.bytes)
            memory += touch.bytes / (rate.write if touch.is_written else rate.read)
        seen |= {touch.outside for touch in step.touches if touch.outside is not None}
        yield Bound(step.operations / roofline.peak_of(step.dtype), memory)
