"""Clocks: single kernels by CUDA events, models from call to result, peers in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from tests.gpu.results import Times

Call = Callable[[], object]
Block = Callable[[], float]
"""Measures once: the median of a few calls, in seconds."""

FLUSH_BYTES = 512 * 2**20
"""Written before a call that is to find nothing in the second cache, which is several times smaller."""
DELAY_CYCLES = 1_000_000
"""For which the GPU waits before a call, half a millisecond in which the host starts its kernels: they then follow each other closely."""
BLOCK_SECONDS = 0.02
MOST_CALLS = 50
FEWEST_ROUNDS = 3


def take_turns(blocks: Mapping[str, Block], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Measure each in every round, another one first each time; ends after `rounds`, or after `seconds` if that comes sooner."""
    times: dict[str, list[float]] = {name: [] for name in blocks}
    names = list(blocks)
    until = time.monotonic() + seconds
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.monotonic() >= until:
            break
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            times[name].append(blocks[name]())
    return times


def find_times(sample: Sequence[float]) -> Times:
    """The quartiles of a sample of at least one."""
    if len(sample) == 1:
        return Times(sample[0], sample[0], sample[0])
    return Times(*statistics.quantiles(sample, n=4, method="inclusive"))


def find_ratio(times: Sequence[float], candidate: Sequence[float]) -> Times:
    """The quartiles of the ratios of two peers' times, round by round."""
    return find_times([a / b for a, b in zip(times, candidate, strict=True)])


class DeviceClock:
    """Time on the GPU alone, by events around a call whose kernels have all been started when the first of them runs."""

    def __init__(self, *, is_cold: bool, device: str = "cuda") -> None:
        self._flush = torch.empty(FLUSH_BYTES if is_cold else 0, dtype=torch.uint8, device=device)

    def make_block(self, call: Call) -> Block:
        """A block of a few calls, how many depends on how long one takes."""
        first = min(self._time(call, 2))
        count = _count_calls(first)
        return lambda: statistics.median(self._time(call, count))

    def _time(self, call: Call, count: int) -> list[float]:
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
        for start, end in events:
            self._flush.zero_()
            torch.cuda._sleep(DELAY_CYCLES)
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in events]


class HostClock:
    """Time from a call until its result is there."""

    def __init__(self) -> None:
        self._wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None

    def make_block(self, call: Call) -> Block:
        """A block of a few calls, after one that is not timed."""
        first = min(self._time(call) for _ in range(2))
        count = _count_calls(first)

        def block() -> float:
            self._time(call)
            return statistics.median(self._time(call) for _ in range(count))

        return block

    def _time(self, call: Call) -> float:
        self._wait()
        start = time.perf_counter()
        call()
        self._wait()
        return time.perf_counter() - start


def record_call(call: Call) -> Call:
    """Record a call as a CUDA graph; returns what replays it. Raises what keeps it from being recorded."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay() -> object:
        graph.replay()
        return result

    return replay


def _count_calls(seconds: float) -> int:
    return max(3, min(MOST_CALLS, round(BLOCK_SECONDS / max(seconds, 1e-7))))
