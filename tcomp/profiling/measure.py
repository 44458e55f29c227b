"""Measure where the time of a call goes: whole calls and calls step by step take turns, so that caches are as the model leaves them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tcomp.codegen.c.machine import read_processor
from tcomp.codegen.c.roofline import Roofline
from tcomp.codegen.timing import measure_spread
from tcomp.ir.errors import KernelFault, ToolchainError, Unsupported
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.plan import ARENA
from tcomp.machine.roofline import find_roofline
from tcomp.machine.toolchains import find_machine
from tcomp.profiling.bounds import Needs, find_bounds, find_needs
from tcomp.profiling.profile import Profile
from tcomp.profiling.rows import Bound, ProfileRow
from tcomp.program.kernels import Library
from tcomp.program.program import CompiledStage, EagerStage, Program, Slot
from tcomp.progress import report_progress
from tcomp.runtime.execution import Execution
from tcomp.settings import read_settings

WARMUPS = 2
"""Rounds that do not count."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a program: what it is, and what it needs if that is known."""

    name: str
    is_kernel: bool
    computes: str
    origin: str
    needs: Needs | None


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds round by round: of whole calls, and of each step of a call."""

    calls: tuple[float, ...]
    steps: tuple[tuple[float, ...], ...]


def profile_execution(
    execution: Execution,
    call: Callable[[], object],
    leaves: Sequence[Any],
    *,
    module: str,
    inputs: str,
    rounds: int,
    again: bool,
) -> Profile:
    """Profile a program on flattened inputs that it serves, which `call` calls it with.

    `module` and `inputs` are what the profile calls them; `again` measures the machine anew. Raises Unsupported for programs whose steps
    cannot be timed one by one, and what calling raises.
    """
    program, sizes = execution.program, dict(zip(execution.program.symbols, execution.read_sizes(leaves)))
    execution.run_steps(leaves)
    threads = _count_threads(program, execution.count_threads())
    roofline, missing = _find_roofline(threads, again=again)
    steps = list(list_steps(program, sizes))
    timed = time_steps(call, lambda: execution.run_steps(leaves), rounds)
    beside = [whole - sum(parts) for whole, parts in zip(timed.calls, timed.steps)]
    return Profile(
        module=module,
        inputs=inputs,
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        processor=read_processor(),
        threads=threads,
        rounds=rounds,
        call=measure_spread(timed.calls),
        beside=measure_spread(beside),
        rows=make_rows(steps, timed, _find_arena(program, sizes), roofline),
        roofline=roofline,
        without_roofline=missing,
    )


def time_steps(call: Callable[[], object], run_steps: Callable[[], Sequence[Sequence[float]]], rounds: int) -> Timed:
    """Whole calls and calls step by step in turns; `run_steps` returns the seconds of each step, stage by stage."""
    calls: list[float] = []
    steps: list[tuple[float, ...]] = []
    gc.collect()
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(-WARMUPS, rounds):
            start = time.perf_counter()
            call()
            whole = time.perf_counter() - start
            parts = tuple(seconds for stage in run_steps() for seconds in stage)
            if number >= 0:
                calls.append(whole)
                steps.append(parts)
            report_progress("timing", number + WARMUPS + 1, rounds + WARMUPS)
    finally:
        if is_collecting:
            gc.enable()
    return Timed(tuple(calls), tuple(steps))


def make_rows(steps: Sequence[_Step], timed: Timed, arena: int, roofline: Roofline | None) -> tuple[ProfileRow, ...]:
    """A row for each step."""
    known = [step.needs for step in steps if step.needs is not None]
    bounds: Iterator[Bound | None] = iter(()) if roofline is None else find_bounds(known, arena, roofline)
    rows: list[ProfileRow] = []
    for number, step in enumerate(steps):
        bound = next(bounds, None) if step.needs is not None else None
        rows.append(
            ProfileRow(
                step=number + 1,
                name=step.name,
                is_kernel=step.is_kernel,
                computes=step.computes,
                origin=step.origin,
                seconds=measure_spread([parts[number] for parts in timed.steps]),
                operations=None if step.needs is None else step.needs.operations,
                bytes=None if step.needs is None else step.needs.bytes,
                bound=bound if bound is not None and bound.seconds else None,
            )
        )
    return tuple(rows)


def list_steps(program: Program, sizes: Mapping[str, int]) -> Iterator[_Step]:
    """The steps of a program in the order in which they run."""
    for number, stage in enumerate(program.stages):
        if isinstance(stage, EagerStage):
            yield from (_Step(call.name, False, call.reason or "goes with another operator", call.source, None) for call in stage.calls)
        elif stage.main is not None:
            yield from _list_kernels(stage, number, sizes)


def _list_kernels(stage: CompiledStage, number: int, sizes: Mapping[str, int]) -> Iterator[_Step]:
    report = stage.report()
    assert stage.main is not None
    kernels = {kernel.name: kernel for kernel in report.kernels}
    plan = parse_plan(report.plan)
    scheduled = parse_schedule(report.schedule).kernels
    made = {name: Slot(slot) for name, slot, _ in stage.results}
    for step, schedule in zip(plan.steps, scheduled, strict=True):
        kernel = kernels[step.kernel]
        # A kernel of several calls is told by the tensors of the first; what a call is given lies at the same places.
        bases = [step.places[kernel.operands.index(traffic.tensor)].base for traffic in kernel.work.traffic]
        outside = [None if base == ARENA else stage.sources.get(base) or made.get(base) or (number, base) for base in bases]
        computes, origin = ", ".join(schedule.einsums), next(iter(kernel.origins), "")
        yield _Step(step.kernel, True, computes, origin, find_needs(kernel.work, sizes, outside))


def _find_arena(program: Program, sizes: Mapping[str, int]) -> int:
    mains = [stage.main for stage in program.stages if isinstance(stage, CompiledStage) and stage.main is not None]
    return sum(extent_value(main.arena, sizes) for main in mains)


def _count_threads(program: Program, most: int) -> int:
    """How many threads the widest of the stages uses."""
    mains = [stage.main for stage in program.stages if isinstance(stage, CompiledStage)]
    limits = [most if main.most_threads is None else main.most_threads for main in mains if isinstance(main, Library)]
    return max(1, min(most, max(limits, default=1)))


def _find_roofline(threads: int, *, again: bool) -> tuple[Roofline | None, str]:
    """The roofline of this machine, or why there is none."""
    settings = read_settings()
    try:
        toolchain, target = find_machine(settings.compiler, settings.sanitizers, "", settings.compiler_seconds)
        return find_roofline(toolchain, target, settings.cache_dir / "kernels", threads, again=again), ""
    except (ToolchainError, Unsupported, KernelFault) as error:
        return None, error.what


