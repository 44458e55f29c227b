"""Measuring tcomp against its peers: interleaved in one run, with medians, spreads, errors and compile times.

Peers take turns. In each round every peer is called once untimed, which brings its weights back into the caches, and
then for a block of calls long enough for the clock; the median call of the block is that peer's time in that round.
A ratio is taken inside a round, so that what slows the machine down for a while slows down both of its terms.

On a GPU calls return before they are done. There one waits until the device is idle, makes a block of calls, and waits again: the
time of a call is its share of the block, in which the host may run ahead of the device as it does in use.
"""

import functools
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tcomp.codegen.timing import Spread, measure_spread
from tcomp.module.compiled_module import CompiledModule
from tcomp.peers.table import FOREIGN, Call, Inputs, Prepare, empty_caches, find_kind, prepare_eager
from tcomp.reference import divide_errors, is_right, list_tensors, measure_error, run_reference
from tcomp.runtime.peak_memory import measure_extra

CANDIDATE = "tcomp"

Wait = Callable[[], None]
"""Returns when the device is idle."""


def do_not_wait() -> None:
    """Nothing: on the CPU what returns is done."""


Report = Callable[[str, int, int], None]
"""Told what is being done, and how many steps of how many are done."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one peer; where `failure` says why it could not be, the rest is absent."""

    peer: str
    failure: str = ""
    seconds: Spread | None = None
    """Of one call."""
    ratio: Spread | None = None
    """Time of this peer over time of tcomp: above 1, tcomp is faster."""
    compile_seconds: float | None = None
    """To compile with empty caches, up to the end of the first call."""
    recompile_seconds: float | None = None
    """To compile once more, kernels cached; measured of tcomp alone."""
    error: float | None = None
    """Largest difference from float64, relative to the largest value of the output."""
    error_ratio: float | None = None
    """That error over eager's own."""
    right: bool | None = None
    """Whether the error is at most twice eager's own, or one unit in the last place of the output's type."""
    fallback_share: float | None = None
    """Share of a call spent in PyTorch's operators; measured of tcomp alone."""
    extra_bytes: int | None = None
    """Memory of a call at its peak beyond inputs, weights and results, what is kept between calls included; absent where PyTorch's
    allocator does not see it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of one model."""

    model: str
    dtype: str
    rounds: int
    rows: tuple[Row, ...]

    def find_row(self, peer: str) -> Row | None:
        """Return the row of a peer, or None if it took no part."""
        return next((row for row in self.rows if row.peer == peer), None)


class _OperatorClock(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the time of the operators that PyTorch runs while it is active, those that compiled programs leave to it among them."""

    only_measures = True

    def __init__(self, wait: Wait) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = 0.0
        self._wait = wait

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._wait()
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        self._wait()
        self.seconds += time.perf_counter() - start
        return result


@dataclass(slots=True)
class _Runner:
    name: str
    call: Call
    compile_seconds: float
    outputs: tuple[Tensor, ...]
    repeats: int = 1


def bench_model(
    model: str,
    module: nn.Module,
    inputs: Inputs,
    peers: Mapping[str, Prepare],
    *,
    rounds: int = 20,
    report: Report = lambda text, done, total: None,
) -> Result:
    """Measure a module with each of `peers`, of which the one named "tcomp" is what ratios relate to.

    A peer that cannot compile or run the module becomes a row that says so.
    """
    total = len(peers) + rounds + 1
    is_late = find_kind(module, inputs) == "cuda"
    wait = torch.cuda.synchronize if is_late else do_not_wait
    report("float64 reference", 0, total)
    reference = run_reference(module, inputs)
    rows: dict[str, Row] = {}
    runners: list[_Runner] = []
    with torch.no_grad(), empty_caches():
        eager_outputs = list_tensors(prepare_eager(module, inputs)(*inputs))
        for step, (name, prepare) in enumerate(peers.items()):
            report(f"compiling with {name}", step + 1, total)
            prepared = _prepare(name, prepare, module, inputs, wait)
            if isinstance(prepared, Row):
                rows[name] = prepared
            else:
                runners.append(prepared)
        measure = functools.partial(_time_block_late, wait=wait) if is_late else _time_block
        times = _measure_rounds(runners, inputs, rounds, measure, lambda done: report("timing", len(peers) + 1 + done, total))
        eager_error = measure_error(eager_outputs, reference)
        for runner in runners:
            error = measure_error(runner.outputs, reference)
            again = share = None
            if runner.name == CANDIDATE:
                share = measure_fallback_share(runner.call, inputs, wait)
                again = _time(lambda: peers[CANDIDATE](module, inputs)(*inputs), wait)
            rows[runner.name] = Row(
                peer=runner.name,
                seconds=measure_spread(times[runner.name]),
                ratio=measure_ratio(times[runner.name], times.get(CANDIDATE)),
                compile_seconds=runner.compile_seconds,
                recompile_seconds=again,
                error=error,
                error_ratio=divide_errors(error, eager_error),
                right=is_right(error, eager_error, eager_outputs),
                fallback_share=share,
                extra_bytes=_measure_memory(runner, module, inputs),
            )
    report("done", total, total)
    return Result(model, describe_dtype(module), rounds, tuple(rows[name] for name in peers))


def _measure_memory(runner: _Runner, module: nn.Module, inputs: Inputs) -> int | None:
    if runner.name in FOREIGN:
        return None
    kept = runner.call.memory.arena + runner.call.memory.folded if isinstance(runner.call, CompiledModule) else 0
    return measure_extra(runner.call, inputs, find_kind(module, inputs)) + kept


def measure_ratio(times: Sequence[float], candidate: Sequence[float] | None) -> Spread | None:
    """Return the quartiles of the ratios of two peers' times, taken round by round; None without a candidate."""
    return measure_spread([a / b for a, b in zip(times, candidate, strict=True)]) if candidate else None


def measure_fallback_share(call: Call, inputs: Inputs, wait: Wait = do_not_wait) -> float:
    """Return the share of a call's time that is spent inside PyTorch's operators, of the shortest of three calls."""
    calls: list[tuple[float, float]] = []
    for _ in range(3):
        with _OperatorClock(wait) as clock:
            seconds = _time(lambda: call(*inputs), wait)
        calls.append((seconds, clock.seconds))
    seconds, inside = min(calls)
    return inside / seconds


def describe_dtype(module: nn.Module) -> str:
    """Return the name of the type of a module's floating-point parameters; several are joined by "+"."""
    names = {str(value.dtype).removeprefix("torch.") for value in module.parameters() if value.is_floating_point()}
    return "+".join(sorted(names)) or "none"


def _prepare(name: str, prepare: Prepare, module: nn.Module, inputs: Inputs, wait: Wait) -> _Runner | Row:
    start = time.perf_counter()
    try:
        call = prepare(module, inputs)
        # Cloned: a peer may hand out the same buffers at every call.
        outputs = tuple(output.clone() for output in list_tensors(call(*inputs)))
        wait()
        compile_seconds = time.perf_counter() - start
        block_seconds = min(_time(lambda: call(*inputs), wait) for _ in range(2))
    except Exception as error:  # noqa: BLE001 (whatever a peer raises is what its row says)
        return Row(name, failure=f"{type(error).__name__}: {error}")
    return _Runner(name, call, compile_seconds, outputs, repeats=max(1, math.ceil(_BLOCK_SECONDS / block_seconds)))


def _measure_rounds(
    runners: Sequence[_Runner],
    inputs: Inputs,
    rounds: int,
    measure: Callable[[_Runner, Inputs], float],
    report: Callable[[int], None],
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {runner.name: [] for runner in runners}
    gc.collect()
    gc.disable()
    try:
        for index in range(rounds):
            report(index)
            # Each peer goes first in turn, so that none always runs on what the same other one left behind.
            turn = index % max(1, len(runners))
            for runner in (*runners[turn:], *runners[:turn]):
                runner.call(*inputs)
                times[runner.name].append(measure(runner, inputs))
    finally:
        gc.enable()
    return times


def _time_block(runner: _Runner, inputs: Inputs) -> float:
    return statistics.median(_time(lambda: runner.call(*inputs)) for _ in range(runner.repeats))


def _time_block_late(runner: _Runner, inputs: Inputs, wait: Wait) -> float:
    """The time of a call of a block, between two moments when the device is idle."""

    def call_all() -> None:
        for _ in range(runner.repeats):
            runner.call(*inputs)

    return _time(call_all, wait) / runner.repeats


def _time(call: Callable[[], object], wait: Wait = do_not_wait) -> float:
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


_BLOCK_SECONDS = 0.02
