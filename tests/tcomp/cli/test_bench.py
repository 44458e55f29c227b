"""The benchmark measures what it says: turns, ratios by round, errors, failures as rows."""

import math
import time
from dataclasses import dataclass

import pytest
import torch

import tcomp
from tcomp.cli import bench as bench_module
from tcomp.cli.bench import (
    Spread,
    bench_model,
    describe_dtype,
    measure_fallback_share,
    measure_ratio,
    measure_spread,
)
from tcomp.peers.table import make_tcomp, prepare_eager
from tests.compiled import Function


@dataclass
class Peer:
    """A peer that takes a given time, adds a given error and notes its calls."""

    name: str
    log: list
    seconds: float = 0.0
    error: float = 0.0

    def __call__(self, module, inputs):
        self.log.append(f"compile {self.name}")

        def call(*arguments):
            self.log.append(self.name)
            time.sleep(self.seconds)
            return module(*arguments) * (1 + self.error)

        return call


def fail_to_compile(module, inputs):
    raise NotImplementedError("no such operator\nand more")


def fail_to_run(module, inputs):
    return lambda *arguments: 1 / 0


MODULE = torch.nn.Linear(8, 8)
INPUTS = (torch.ones(2, 8),)


def bench(rounds=3, **peers):
    return bench_model("the model", MODULE, INPUTS, peers, rounds=rounds)


def test_ratios_relate_to_tcomp_and_a_slower_peer_is_above_one():
    result = bench(tcomp=Peer("tcomp", [], seconds=0.002), slow=Peer("slow", [], seconds=0.02))
    assert (result.model, result.dtype, result.rounds) == ("the model", "float32", 3)
    assert result.find_row("tcomp").ratio.median == 1
    slow = result.find_row("slow")
    assert slow.seconds.median >= 0.02
    assert slow.ratio.median > 1
    assert result.find_row("other") is None


def test_without_tcomp_there_are_times_and_no_ratios():
    row = bench(eager=prepare_eager).find_row("eager")
    assert row.seconds.median > 0
    assert row.ratio is None


def test_peers_take_turns_and_each_goes_first():
    log = []
    bench(rounds=2, tcomp=Peer("a", log, seconds=0.03), other=Peer("b", log, seconds=0.03))
    measured = log[log.index("compile b") + 4 :]
    # A round is one untimed and one timed call each; then three for the fallback share, the second compilation, and one for memory.
    assert measured == [*"aabbbbaa", *"aaa", "compile a", "a", *"ab"]


def test_memory_is_what_calls_take_and_what_is_kept(monkeypatch):
    row = bench(eager=prepare_eager, tcomp=make_tcomp({}), openvino=Peer("a", []))
    assert row.find_row("eager").extra_bytes == 0
    compiled = tcomp.compile(MODULE, INPUTS)
    assert row.find_row("tcomp").extra_bytes == compiled.memory.extra > 0
    assert row.find_row("openvino").extra_bytes is None


def test_a_fast_peer_is_called_often_enough_for_the_clock():
    log = []
    bench(rounds=1, tcomp=Peer("a", log, seconds=0.001))
    assert 5 < log.count("a") < 40


def test_errors_are_measured_against_float64_and_judged_by_eagers():
    result = bench(tcomp=Peer("tcomp", []), off=Peer("off", [], error=1e-3), eager=prepare_eager)
    assert [row.right for row in result.rows] == [True, False, True]
    off = result.find_row("off")
    assert off.error == pytest.approx(1e-3, rel=0.01)
    assert off.error_ratio > 100
    assert result.find_row("eager").error_ratio == 1


@pytest.mark.parametrize(
    ("peer", "says"),
    [(fail_to_compile, "NotImplementedError: no such operator"), (fail_to_run, "ZeroDivisionError: division by zero")],
)
@pytest.mark.parametrize("name", ["tcomp", "other"])
def test_a_peer_that_fails_is_a_row_with_the_reason(name, peer, says):
    result = bench(**{name: peer, "eager": prepare_eager})
    row = result.find_row(name)
    assert row.failure.startswith(says)
    assert (row.seconds, row.right) == (None, None)
    assert result.find_row("eager").right


def test_compile_times_are_those_of_the_first_and_of_a_second_compilation():
    def prepare(module, inputs):
        time.sleep(0.01)
        return module

    result = bench(tcomp=prepare, other=prepare)
    assert result.find_row("tcomp").compile_seconds >= 0.01
    assert result.find_row("tcomp").recompile_seconds >= 0.01
    assert result.find_row("other").recompile_seconds is None


def test_a_peer_that_reuses_its_output_buffer_is_judged_by_its_first_call():
    buffer = torch.zeros(2, 8)

    def prepare(module, inputs):
        calls = []

        def call(*arguments):
            calls.append(1)
            return buffer.copy_(module(*arguments)) if len(calls) == 1 else buffer.zero_()

        return call

    assert bench(other=prepare).find_row("other").right


def test_progress_is_reported_to_its_end():
    steps = []
    bench_model("m", MODULE, INPUTS, {"eager": prepare_eager}, rounds=2, report=lambda *step: steps.append(step))
    assert [text for text, _, _ in steps] == ["float64 reference", "compiling with eager", "timing", "timing", "done"]
    assert [done for _, done, _ in steps] == [0, 1, 2, 3, 4]
    assert {total for _, _, total in steps} == {4}


def test_an_interruption_is_not_a_failure_of_the_peer():
    def interrupt(module, inputs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(other=interrupt)


def test_the_fallback_share_is_the_time_inside_pytorch():
    matrix = torch.randn(256, 256)

    def half(x):
        start = time.perf_counter()
        for _ in range(10):
            x = x @ matrix
        time.sleep(time.perf_counter() - start)
        return x

    assert measure_fallback_share(lambda x: x @ matrix, (matrix,)) > 0.3
    # Less than half of it where the machine is busy: a sleep may take any time.
    assert 0 < measure_fallback_share(half, (matrix,)) < 0.6
    assert measure_fallback_share(lambda x: time.sleep(0.001), (matrix,)) == 0
    compiled = tcomp.compile(Function(lambda x: (x * 2).relu().sum(-1)), (matrix,))
    assert measure_fallback_share(compiled, (matrix,)) < 0.5


def test_spreads_are_quartiles():
    assert measure_spread([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(2, 3, 4)
    assert measure_spread([7.0]) == Spread(7, 7, 7)


def test_ratios_are_taken_round_by_round():
    # The second round was ten times slower for both: the ratio does not notice.
    assert measure_ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2, 2, 2)
    assert measure_ratio([1.0], None) is None


def test_types_of_parameters_are_named():
    assert describe_dtype(torch.nn.Linear(2, 2).bfloat16()) == "bfloat16"
    assert describe_dtype(torch.nn.Sequential(MODULE, torch.nn.Linear(2, 2).half())) == "float16+float32"
    assert describe_dtype(torch.nn.ReLU()) == "none"


def test_integer_outputs_must_be_equal():
    class Index(torch.nn.Module):
        def forward(self, x):
            return x.argmax(-1)

    def off_by_one(module, inputs):
        return lambda x: module(x) + 1

    result = bench_model("m", Index(), (torch.eye(3),), {"tcomp": prepare_eager, "off": off_by_one}, rounds=1)
    assert [(row.error, row.right) for row in result.rows] == [(0, True), (math.inf, False)]


def test_on_a_gpu_a_block_of_calls_is_timed_between_idle_moments(monkeypatch):
    """Calls that return before they are done: only waiting shows what they take."""
    log, due = [], {"time": 0.0}

    def start(module, inputs):
        def call(x):
            due["time"] = max(due["time"], time.perf_counter()) + 0.004
            log.append("call")
            return module(x)

        return call

    def wait():
        log.append("wait")
        time.sleep(max(0.0, due["time"] - time.perf_counter()))

    monkeypatch.setattr(bench_module, "find_kind", lambda module, inputs: "cuda")
    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    monkeypatch.setattr(bench_module, "measure_extra", lambda call, inputs, kind: {"cuda": 0}[kind])
    row = bench(rounds=3, tcomp=start).find_row("tcomp")
    assert row.seconds.median >= 0.0035
    block = ["wait", *["call"] * 5, "wait"]
    text = " ".join(log)
    assert " ".join(block[:3]) in text
    assert row.right
