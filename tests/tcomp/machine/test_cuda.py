"""The calls into torch.cuda, on a played device: in which order, and that nothing is left open when something fails."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from tcomp.codegen.timing import TIMING
from tcomp.machine.cuda import Cuda, FaultReporter, RecordingError

DEVICE = torch.device("cuda", 0)


class Stream:
    def __init__(self, log, name, handle):
        self.log, self.name, self.cuda_stream = log, name, handle

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")

    def synchronize(self):
        self.log.append(f"{self.name} is done")


class Event:
    def __init__(self, log, **options):
        self.log = log

    def record(self):
        self.log.append("event")

    def elapsed_time(self, other):
        return 2.0


@pytest.fixture
def log(monkeypatch):
    log = []

    class Graph:
        def capture_begin(self, capture_error_mode):
            log.append(f"begin {capture_error_mode}")

        def capture_end(self):
            log.append("end")

        def replay(self):
            log.append("replay")

    @contextlib.contextmanager
    def switch(stream):
        log.append(f"on {stream.name}")
        yield
        log.append(f"off {stream.name}")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(log, "side", 8))
    monkeypatch.setattr(torch.cuda, "Event", lambda **options: Event(log, **options))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(log, "current", 7))
    monkeypatch.setattr(torch.cuda, "stream", switch)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(L2_cache_size=8))
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: log.append("clear"), raising=False)
    return log


RECORDED = ["side waits for current", "on side", "clear", "begin thread_local", "kernels on 8", "end", "clear", "off side"]


def test_kernels_are_recorded_on_a_stream_of_their_own(log):
    replay = Cuda(DEVICE).record(lambda stream: log.append(f"kernels on {stream}"))
    assert log == [*RECORDED, "current waits for side"]
    replay()
    assert log[-1] == "replay"


def test_a_recording_that_fails_is_ended(log):
    cuda = Cuda(DEVICE)

    def fail(stream):
        raise ValueError(stream)

    with pytest.raises(ValueError, match="8"):
        cuda.record(fail)
    assert log[-2:] == ["end", "clear"]

    def refuse(stream):
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RecordingError, match="not permitted"):
        cuda.record(refuse)
    assert "end" in log
    log.clear()
    # The next one may begin.
    cuda.record(lambda stream: log.append(f"kernels on {stream}"))
    assert log[: len(RECORDED)] == RECORDED


def test_streams_are_pytorchs(log, monkeypatch):
    cuda = Cuda(DEVICE)
    assert cuda.find_stream() == 7
    cuda.synchronise()
    assert log == ["current is done"]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert cuda.is_capturing()
    monkeypatch.setattr(torch.cuda, "device", lambda device: device)
    assert cuda.on_device() == DEVICE


def test_memory_is_kept_for_the_current_stream(log):
    kept = []
    tensors = [SimpleNamespace(record_stream=lambda stream: kept.append(stream.name)) for _ in range(2)]
    Cuda(DEVICE).keep_for_stream(tensors)
    assert kept == ["current", "current"]


def test_times_are_medians_with_cold_caches(log, monkeypatch):
    flushed = []
    monkeypatch.setattr(torch, "empty", lambda size, **options: SimpleNamespace(zero_=lambda: flushed.append(size)))
    assert Cuda(DEVICE).measure(lambda: log.append("launch")) == 0.002
    assert log.count("launch") == TIMING.repeats + TIMING.warmups
    assert flushed == [16] * TIMING.repeats
    assert log[2:5] == ["event", "launch", "event"]


class Arrival:
    def __init__(self):
        self.is_there = True

    def record(self):
        pass

    def query(self):
        return self.is_there


def make_reporter(count=3):
    return FaultReporter(torch.zeros(count, dtype=torch.int32), torch.zeros(count, dtype=torch.int32), Arrival())


def test_faults_are_told_once_and_in_order():
    reporter = make_reporter()
    assert reporter.receive() is None
    reporter.faults[1:] = 1
    assert reporter.receive() is None
    reporter.send()
    assert reporter.receive() == 1
    assert reporter.receive() is None
    reporter.send()
    assert reporter.receive() is None


def test_faults_wait_until_they_have_arrived():
    reporter = make_reporter()
    reporter.faults[2] = 1
    reporter._arrival.is_there = False
    for _ in range(3):
        reporter.send()
        assert reporter.receive() is None
    reporter._arrival.is_there = True
    assert reporter.receive() == 2


def test_a_reporter_has_an_array_on_each_side(log, monkeypatch):
    made = []
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda count, **options: made.append(options) or zeros(count, dtype=options["dtype"]))
    reporter = Cuda(DEVICE).make_reporter(4)
    assert made == [{"dtype": torch.int32, "device": DEVICE}, {"dtype": torch.int32, "pin_memory": True}]
    assert reporter.faults.shape == (4,)
