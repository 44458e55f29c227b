"""What running kernels asks of CUDA, on one device: streams, recordings, and faults that come back late.

Tests put another class in its place, which runs the same on a machine without a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from tcomp.codegen.timing import TIMING, find_usual

LARGE_CACHE = 1 << 27
"""Bytes."""

_RECORDING = threading.Lock()
"""One recording at a time: PyTorch's allocator and random generators take part in each."""


class RecordingError(Exception):
    """Something that was started cannot be part of a recording."""


class Cuda:
    """CUDA on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def on_device(self) -> AbstractContextManager[object]:
        """Make the device the current one for a while."""
        return torch.cuda.device(self.device)

    def find_stream(self) -> int:
        """The handle of the current stream."""
        return int(torch.cuda.current_stream(self.device).cuda_stream)

    def is_capturing(self) -> bool:
        """Whether someone is recording what is started on the current stream."""
        return torch.cuda.is_current_stream_capturing()

    def synchronise(self) -> None:
        """Wait for all that was started on the current stream."""
        torch.cuda.current_stream(self.device).synchronize()

    def keep_for_stream(self, tensors: Iterable[Tensor]) -> None:
        """Have the memory of tensors, once freed, not be used again before the current stream has come to where it is then."""
        stream = torch.cuda.current_stream(self.device)
        for tensor in tensors:
            tensor.record_stream(stream)

    def record(self, launch: Callable[[int], None]) -> Callable[[], None]:
        """Record what `launch` starts on the stream it is given, without running it; returns a function that runs it.

        Raises RecordingError for what CUDA does not record.
        """
        graph = torch.cuda.CUDAGraph()
        current, side = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with _RECORDING, torch.cuda.stream(side):
            # What cuBLAS keeps for this stream would be shared with other recordings made on it.
            torch._C._cuda_clearCublasWorkspaces()
            try:
                # Other threads may use CUDA meanwhile.
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    launch(int(side.cuda_stream))
                finally:
                    graph.capture_end()
            except RuntimeError as error:
                raise RecordingError(str(error)) from error
            finally:
                torch._C._cuda_clearCublasWorkspaces()
        current.wait_stream(side)
        return graph.replay

    def measure(self, launch: Callable[[], None]) -> float:
        """Seconds that what `launch` starts takes, as a rule, the second cache emptied before each of several times."""
        cache = int(getattr(torch.cuda.get_device_properties(self.device), "L2_cache_size", LARGE_CACHE))
        other = torch.empty(2 * cache, dtype=torch.uint8, device=self.device)
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(TIMING.repeats)]  # type: ignore[no-untyped-call]
        for _ in range(TIMING.warmups):
            launch()
        for start, end in events:
            # While this is under way, the host gets ahead of the device.
            other.zero_()
            start.record()
            launch()
            end.record()
        self.synchronise()
        return find_usual([float(start.elapsed_time(end)) for start, end in events]) / 1000

    def make_reporter(self, count: int) -> FaultReporter:
        """A reporter for `count` checks; for the current stream."""
        faults = torch.zeros(count, dtype=torch.int32, device=self.device)
        host = torch.zeros(count, dtype=torch.int32, pin_memory=True)
        return FaultReporter(faults, host, torch.cuda.Event())  # type: ignore[no-untyped-call]


class Arrival(Protocol):
    """An event of CUDA."""

    def record(self) -> None:
        """Stand where the current stream is now."""

    def query(self) -> bool:
        """Whether the stream has come past that."""


class FaultReporter:
    """Where kernels note the checks that failed, and how that reaches the host: late, without waiting.

    Kernels store 1 at the number of a check. After each call the array is copied to the host, in the order of the stream. Before the
    next call one looks whether that copy has arrived; if not, nothing is lost, since the array keeps what was noted until it was told.
    """

    def __init__(self, faults: Tensor, host: Tensor, arrival: Arrival) -> None:
        self.faults = faults
        self._host = host
        self._arrival = arrival
        self._is_sent = False

    def send(self) -> None:
        """Have the array copied to the host."""
        self._host.copy_(self.faults, non_blocking=True)
        self._arrival.record()
        self._is_sent = True

    def receive(self) -> int | None:
        """The number of a check that failed in calls before this one, as far as that is known; it is told once."""
        if not self._is_sent or not self._arrival.query():
            return None
        self._is_sent = False
        failed = self._host.nonzero()
        if not len(failed):
            return None
        self.faults.zero_()
        return int(failed[0])
