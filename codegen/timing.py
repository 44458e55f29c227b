"""How kernels are timed, on any device: some runs to warm up, then several, of which one number is made.

On a CPU candidates for the same work take turns, so that what else the machine does falls on all of them alike; on a GPU one is measured
after the other, since there is nothing else (`tcomp.machine.cuda`).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tcomp.ir.cascade import Symbol

FEWEST = 3
"""Turns that there are in any case."""

HOPELESS = 3.0
"""A candidate that takes so many times as long as the fastest, warmed up, gets no turns."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often what is timed runs."""

    warmups: int = 2
    """Runs before any counts, at least one: they bring code and data into caches and wake up threads."""
    repeats: int = 15
    """Runs that count, at most; at least one."""
    budget: float = 1.0
    """Seconds for the turns of all candidates together, after which no other turn begins if there have been FEWEST."""


TIMING = Timing()


@dataclass(frozen=True, slots=True)
class Spread:
    """Quartiles of a sample."""

    low: float
    median: float
    high: float

    @property
    def width(self) -> float:
        """Half the distance of the quartiles, over the median; 0 of nothing but zeros."""
        return (self.high - self.low) / (2 * abs(self.median)) if self.median else 0.0


def measure_spread(sample: Sequence[float]) -> Spread:
    """Return the quartiles of a sample of at least one value."""
    if len(sample) == 1:
        return Spread(sample[0], sample[0], sample[0])
    low, median, high = statistics.quantiles(sample, n=4, method="inclusive")
    return Spread(low, median, high)


def find_usual(samples: Sequence[float]) -> float:
    """The time that stands for several on a device of its own: their median, since clocks vary both ways."""
    return statistics.median(samples)


def find_undisturbed(samples: Sequence[float]) -> float:
    """The time that stands for several on a processor that others use: the least, since all that they do is add to it."""
    return min(samples)


def time_in_turns(
    runs: Sequence[Callable[[], object]], timing: Timing = TIMING, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds that each of several runs takes, in their order; a run returns when it is done. `clock` tells the time in seconds."""

    def sample(run: Callable[[], object]) -> float:
        start = clock()
        run()
        return clock() - start

    first = [find_undisturbed([sample(run) for _ in range(timing.warmups)]) for run in runs]
    limit = HOPELESS * min(first, default=math.inf)
    kept = [number for number, seconds in enumerate(first) if seconds <= limit]
    samples: dict[int, list[float]] = {number: [] for number in kept}
    end = clock() + timing.budget
    for turn in range(timing.repeats):
        if turn >= FEWEST and clock() >= end:
            break
        # Everyone's neighbours change, lest one leaves the caches better than another to the same candidate each time.
        for number in kept if turn % 2 == 0 else reversed(kept):
            samples[number].append(sample(runs[number]))
    return [find_undisturbed(samples[number]) if number in samples else seconds for number, seconds in enumerate(first)]


def choose_sizes(symbols: Sequence[Symbol], size: int) -> dict[str, int]:
    """Values of symbols to time kernels with: `size`, as far as the range of each allows."""
    return {s.name: max(s.low, size if s.high is None else min(s.high, size)) for s in symbols}
