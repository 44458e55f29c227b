"""Measuring, where there is no GPU: with clocks of the host, and with a stand-in for torch.cuda."""

import functools
import threading
import time

import pytest
import torch
from torch import nn

from tests.compiled import Function
from tests.gpu import measure
from tests.gpu.benchmarks import OTHERS, PRODUCTS, STREAMS
from tests.gpu.check import Bed
from tests.gpu.contest import Contest
from tests.gpu.measure import DeviceClock, HostClock, find_ratio, find_times, record_call, take_turns
from tests.gpu.results import Row, Times
from tests.gpu.rows import BENCHMARKS, clean, describe_machine, measure_benchmark, measure_model, multiply
from tests.gpu.worker import Task

BED = Bed(torch.device("cpu"), is_small=True)
"""Kernels in C."""


def find(table, name):
    return next(entry for entry in table if entry.name == name)


def leave_out(*names):
    return Task(dict.fromkeys(names, "left out"), lambda peer, row: None)


def run(generator):
    """Both parts of a row."""
    first = next(generator)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    return first, stop.value.value


def test_peers_take_turns_until_time_is_up():
    log = []
    blocks = {name: functools.partial(lambda name: log.append(name) or 1.0, name) for name in "ab"}
    times = take_turns(blocks, rounds=4, seconds=60)
    assert "".join(log) == "abbaabba"
    assert times == {"a": [1.0] * 4, "b": [1.0] * 4}
    assert len(take_turns(blocks, rounds=100, seconds=0)["a"]) == 3


def test_ratios_are_taken_round_by_round():
    assert find_times([3.0]) == Times(3.0, 3.0, 3.0)
    assert find_times([1.0, 2.0, 3.0]).median == 2.0
    # One slow round slows both down, and leaves the ratio alone.
    assert find_ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Times(2.0, 2.0, 2.0)


MEASURED = [("matmul", find(PRODUCTS, "tf32-4096")), ("memory", find(STREAMS, "add-norm-f32")), ("other", find(OTHERS, "topk-f32"))]


@pytest.mark.parametrize(("section", "benchmark"), MEASURED, ids=lambda value: getattr(value, "name", value))
def test_a_benchmark_is_prepared_and_then_measured(section, benchmark, monkeypatch):
    monkeypatch.setattr("tests.gpu.rows.SECONDS", 0.05)
    first, last = run(measure_benchmark(BED, section, benchmark, leave_out("inductor")))
    assert (first.status, first.label) == ("right", f"{section}/{benchmark.name}")
    assert all(peer.seconds is None for peer in first.peers)
    names = {"tcomp", *benchmark.peers, *benchmark.others}
    assert {peer.name for peer in last.peers} == names
    assert {peer.name for peer in last.peers if peer.seconds and peer.ratio} == names - {"inductor"}
    assert last.find_peer("tcomp").compile_seconds > 0
    assert bool(last.operations) == (section == "matmul")
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_model_is_prepared_and_then_measured(monkeypatch):
    monkeypatch.setattr("tests.gpu.rows.SECONDS", 0.05)
    part = measure_model(BED, "zoo-f32", "mlp", ("eager", "inductor"), leave_out("inductor"), model="mlp", dtype=torch.float32)
    first, last = run(part)
    assert first.status == "right" and first.kernels
    assert last.find_peer("eager").ratio.median > 0
    assert last.find_peer("inductor").failure == "left out"


def test_kernels_chosen_by_measurement_are_a_peer_and_are_checked(monkeypatch):
    monkeypatch.setattr("tests.gpu.rows.SECONDS", 0.05)
    compile = Bed.compile
    # Here is no GPU to measure on: the same kernels again.
    monkeypatch.setattr(Bed, "compile", lambda *given, tune=False, **options: compile(*given, **options))
    row = run(measure_benchmark(BED, "tuned", BENCHMARKS["tuned"][0], leave_out("inductor-max")))[1]
    assert row.status == "right"
    assert row.find_peer("tuned").ratio and row.find_peer("tuned").kernels
    monkeypatch.setattr(Bed, "compile", lambda *given, **options: Wrong() if options.get("tune") else compile(*given, **options))
    row = run(measure_benchmark(BED, "tuned", benchmark := find(BENCHMARKS["tuned"], "memory-gelu-bf16"), leave_out("inductor-max")))[1]
    assert benchmark.peers[0] == "tuned"
    assert row.status == "wrong" and row.detail.startswith("tuned: ")


def sleep(seconds):
    return lambda *inputs: time.sleep(seconds)


def test_peers_that_fail_say_so_and_others_are_measured():
    told = []
    module, inputs = nn.Linear(8, 8).requires_grad_(False), (torch.randn(4, 8),)
    task = Task({"inductor": "took longer than 60 s"}, lambda peer, row: told.append((peer, row.status)))
    contest = Contest(BED, Row("matmul", "small", "failed"), module, inputs, task)
    with torch.no_grad():
        contest.prepare(("eager", "inductor", "copy"), {"slow": sleep(0.002), "broken": lambda x: x.no_such_method()}, {})
        contest.measure(HostClock(), seconds=0.1)
    row = contest.finish()
    assert row.status == "right" and row.kernels
    assert row.bytes == 4 * (32 + 64 + 8 + 32)
    assert [peer.name for peer in row.peers] == ["tcomp", "eager", "inductor", "copy", "slow", "broken"]
    assert row.find_peer("tcomp").ratio.median == 1.0
    assert row.find_peer("slow").ratio.median > 1
    assert row.find_peer("inductor").failure == "took longer than 60 s" and row.find_peer("inductor").seconds is None
    assert row.find_peer("broken").failure.startswith("AttributeError")
    assert told == [(peer, "right") for name in ("eager", "copy", "slow", "broken") for peer in (name, "")]


def test_a_wrong_result_is_a_wrong_row(monkeypatch):
    module, inputs = Function(lambda x: x * 2), (torch.randn(8),)
    monkeypatch.setattr(Bed, "compile", lambda *arguments, **options: Wrong())
    contest = Contest(BED, Row("memory", "small", "failed"), module, inputs, leave_out())
    with torch.no_grad():
        contest.prepare((), {}, {})
    assert contest.finish().status == "wrong"
    assert "elements" in contest.finish().detail


class Wrong:
    """A compiled module that is."""

    kernels = ()

    def __call__(self, x):
        return x * 3


class Event:
    """A CUDA event on the clock of the host."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.seconds = time.perf_counter()

    def elapsed_time(self, end):
        return (end.seconds - self.seconds) * 1e3


@pytest.fixture
def cuda(monkeypatch):
    """A stand-in for torch.cuda that notes what it is asked."""
    asked = []

    class Stream:
        def wait_stream(self, other):
            asked.append("wait")

    class Graph:
        def replay(self):
            asked.append("replay")

    class Scope:
        def __init__(self, thing):
            asked.append(type(thing).__name__)

        def __enter__(self):
            return None

        def __exit__(self, *exception):
            return False

    names = {
        "Event": Event, "_sleep": asked.append, "synchronize": lambda: asked.append("synchronise"), "Stream": Stream,
        "current_stream": Stream, "CUDAGraph": Graph, "graph": Scope, "stream": Scope,
    }  # fmt: skip
    for name, value in names.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return asked


def test_the_device_clock_flushes_and_delays_before_each_call(cuda, monkeypatch):
    monkeypatch.setattr(measure, "FLUSH_BYTES", 1000)
    calls = []
    clock = DeviceClock(is_cold=True, device="cpu")
    block = clock.make_block(lambda: calls.append(time.sleep(0.01)))
    assert len(calls) == 2
    del cuda[:]
    assert block() >= 0.01
    assert len(calls) == 5, "a call that takes long is not repeated more than three times"
    assert cuda == [measure.DELAY_CYCLES] * 3 + ["synchronise"]


def test_a_recorded_call_runs_once_on_a_side_stream_before(cuda):
    calls = []
    replay = record_call(lambda: calls.append(1) or "result")
    assert len(calls) == 4 and replay() == "result" and len(calls) == 4
    assert cuda == ["wait", "Stream", "wait", "Graph", "replay"]


def test_who_cannot_be_recorded_is_measured_without(cuda):
    module, inputs = nn.Linear(8, 8).requires_grad_(False), (torch.randn(4, 8),)
    contest = Contest(BED, Row("zoo-f32", "small", "failed"), module, inputs, leave_out("graph of eager"))
    with torch.no_grad():
        contest.prepare(("eager",), {"broken": Flaky()}, {})
        contest.record()
        contest.measure(HostClock(), seconds=0.05)
    tcomp, eager, broken = contest.finish().peers
    assert tcomp.replay_ratio.median == 1.0 and not tcomp.note
    assert eager.replay_seconds is None and eager.seconds and eager.note == "not recorded: left out"
    assert broken.note.startswith("not recorded: ValueError: not now")


class Flaky:
    """Fails at its third call, which is the second of those before recording."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        if self.calls == 3:
            raise ValueError("not now")


def test_rows_leave_nothing_behind():
    with pytest.raises(ValueError, match="planted"), clean(), multiply("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
        raise ValueError("planted")
    assert torch.get_float32_matmul_precision() == "highest"


def test_processes_take_turns(tmp_path):
    bed, entered = Bed(torch.device("cpu"), turns=tmp_path / "turns"), threading.Event()

    def enter():
        with bed.take_turn():
            entered.set()

    # What opens the file itself is held up, be it a thread or a process.
    other = threading.Thread(target=enter)
    with bed.take_turn():
        other.start()
        assert not entered.wait(0.3)
    other.join(10)
    assert entered.is_set()


def test_the_machine_is_described():
    machine = describe_machine(torch.device("cpu"))
    assert machine["torch"] == torch.__version__ and "interpreted" in machine["gpu"]
