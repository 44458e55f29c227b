"""Measure what this machine can do at most: multiply-adds a second, and bytes a second from wherever so many bytes lie.

Williams, Waterman and Patterson 2009 (the roofline): a kernel takes at least the time of its operations at the peak, and that of its
bytes at the bandwidth. Bandwidth is measured for ever more memory, from what fits the first caches to what fits none, since kernels
often find in a cache what the one before left there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tcomp.codegen.c.build import build_source
from tcomp.codegen.c.child import Child
from tcomp.codegen.c.run import Call, Draw, External
from tcomp.codegen.c.toolchain import Toolchain
from tcomp.codegen.timing import Timing
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.errors import Unsupported
from tcomp.ir.target import Cpu

ACCUMULATORS = 12
"""As in support/roofline.h."""

ROUNDS = 50_000
"""Of the measurement of peaks: a fraction of a millisecond, so that some runs pass without anything in between."""

SMALLEST = 1 << 14
LARGEST = 1 << 30
"""Bytes of memory that are walked, between which every step takes twice as many."""

BEYOND = 4
"""So many times the last cache is taken to lie in no cache."""

NEAR, FAR = 1 << 25, 1 << 23
"""Bytes that a run walks in memory of no more than FAR bytes, and in more: a fraction of a millisecond of either."""

TIMING = Timing(warmups=2, repeats=60, budget=0.3)

MOST_TRIES = 6
ALIKE = 0.97
"""Everything is measured until two tries come near the best of all, at most so often: what else the machine does only takes away."""

Report = Callable[[str, int, int], None]
"""Told what was done, and how many steps of how many are done."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes a second of all threads that walk `bytes` bytes of memory again and again."""

    bytes: int
    read: float
    copy: float
    """Reading half of them and writing the other half, all of which count."""

    @property
    def write(self) -> float:
        """What copying leaves for writing beside reading."""
        seconds = 2 / self.copy - 1 / self.read
        # Where copying is as fast as reading alone, it tells nothing of its halves.
        return min(1 / seconds, self.copy * 2) if seconds > 0 else self.copy * 2


@dataclass(frozen=True, slots=True)
class Roofline:
    """What so many threads can do at most."""

    threads: int
    peaks: tuple[tuple[str, float], ...]
    """Operations a second by element type, a multiply-add being two."""
    rates: tuple[Rate, ...]
    """By ever more memory, the last of which fits no cache."""

    @property
    def memory(self) -> Rate:
        """The rates of memory that is in no cache."""
        return self.rates[-1]

    def peak_of(self, dtype: str) -> float:
        """Operations a second in an element type; those of f32 for one that was not measured."""
        peaks = dict(self.peaks)
        return peaks.get(dtype, peaks["f32"])

    def rate_at(self, size: int) -> Rate:
        """The rates at which so many bytes are walked, or more would be: never less than those of any more memory."""
        first = max((n for n, rate in enumerate(self.rates) if rate.bytes <= size), default=0)
        rest = self.rates[first:]
        return Rate(rest[0].bytes, max(rate.read for rate in rest), max(rate.copy for rate in rest))


def measure_roofline(
    toolchain: Toolchain, target: Cpu, cache_directory: Path, threads: int, report: Report, timing: Timing = TIMING
) -> Roofline:
    """Measure this machine, whose caches `target` tells, with so many threads; takes some seconds.

    Raises ToolchainError if nothing can be built or started, Unsupported where programs are compiled with sanitizers.
    """
    if any("-fsanitize" in flag for flag in toolchain.flags):
        raise Unsupported("what sanitizers watch has no speed to measure", where="TCOMP_SANITIZE", help="leave it unset")
    sizes = list_sizes(target.l3 or target.l2)
    types = [dtype for dtype in ("f32", "f64", "bf16") if dtype != "bf16" or (target.has("avx512_bf16") and toolchain.lanes == 16)]
    child = Child()

    def build(name: str) -> Path:
        source = f'#define TCOMP_LANES {toolchain.lanes}\n#define TCOMP_{name}\n#include "roofline.h"\n'
        return build_source("roofline", source, toolchain=toolchain, cache_directory=cache_directory)

    def measure_peak(dtype: str) -> tuple[float]:
        element = DTYPES["f32" if dtype == "bf16" else dtype]
        lanes = 4 * toolchain.lanes // DTYPES[dtype].bytes
        elements = max(2, threads)
        externals = External("from", 2 * element.bytes, False), External("to", elements * element.bytes, True)
        call = Call(build(f"PEAK TCOMP_{dtype.upper()}"), externals, 0, (threads, ROUNDS), threads)
        (seconds,) = child.time([call], [[Draw(element.name, elements)] * 2], timing)
        return (2.0 * lanes * ACCUMULATORS * ROUNDS * threads / seconds,)

    def measure_rates(size: int) -> tuple[float, float]:
        read, copy = _walk(build("READ"), size, threads, is_copy=False), _walk(build("COPY"), size, threads, is_copy=True)
        draws = [Draw("f32", size // 4), Draw("f32", size // 8)]
        times = child.time([read, copy], [draws, draws], timing)
        moved = _walked(size)
        return moved / times[0], moved / times[1]

    peaks: list[tuple[str, float]] = []
    rates: list[Rate] = []
    try:
        for dtype in types:
            (peak,) = try_often(partial(measure_peak, dtype))
            peaks.append((dtype, peak))
            report("measured the machine", len(peaks), len(types) + len(sizes))
        for size in sizes:
            read, copy = try_often(partial(measure_rates, size))
            rates.append(Rate(size, read, copy))
            report("measured the machine", len(types) + len(rates), len(types) + len(sizes))
    finally:
        child.close()
    return Roofline(threads, tuple(peaks), tuple(rates))


def try_often(measure: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """The best of several tries to measure some rates, when two tries come near the best of each or there have been MOST_TRIES."""
    tries: list[tuple[float, ...]] = []
    best: tuple[float, ...] = ()
    while len(tries) < MOST_TRIES:
        tries.append(measure())
        best = tuple(map(max, zip(*tries)))
        if all(sum(one >= ALIKE * most for one in column) > 1 for column, most in zip(zip(*tries), best)):
            break
    return best


def list_sizes(cache: int) -> list[int]:
    """The bytes of memory to walk on a machine whose last cache has so many."""
    last = min(LARGEST, max(BEYOND * cache, 1 << 26))
    sizes = [SMALLEST]
    while sizes[-1] < last:
        sizes.append(2 * sizes[-1])
    return sizes


def _walked(size: int) -> int:
    """The bytes that are moved in a run, of memory of so many."""
    return NEAR if size <= FAR else FAR


def _walk(library: Path, size: int, threads: int, *, is_copy: bool) -> Call:
    """Walk memory of so many bytes, of which copying reads half."""
    halves = 2 if is_copy else 1
    externals = External("from", size // halves, False), External("to", size // 2, True)
    return Call(library, externals, 0, (threads, size // halves // 4, _walked(size) // halves // 4), threads)
