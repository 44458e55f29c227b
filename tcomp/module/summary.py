"""A compiled module in a few lines: what its `repr` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcomp.module.detour import Detour, Way
from tcomp.module.memory import Memory
from tcomp.program.program import CompiledStage, Program, describe_inputs, list_fallbacks
from tcomp.program.reports import KernelReport

MOST = 3
"""Programs, operators and reasons that are listed; of the others their number is told."""


def summarise(name: str, programs: Sequence[Program], detours: Sequence[Detour], memory: Memory, graphs: Sequence[Program] = ()) -> str:
    """The lines on a module of class `name`: its programs by their inputs, operators left to PyTorch, why calls go elsewhere, memory.

    Of calls that go elsewhere, `graphs` are the programs that what torch.compile found became.
    """
    head = f"tcomp.compile({name})"
    if not programs and not detours:
        return f"{head}: nothing compiled yet, the first call compiles"
    left = _list_fallbacks([*programs, *graphs])
    lines = [*_list_programs(programs), *left, *_list_detours(detours, graphs), *_list_memory(memory)]
    return "\n  ".join([f"{head}:", *lines])


def _list_programs(programs: Sequence[Program]) -> Iterator[str]:
    for program in programs[:MOST]:
        kernels = list_kernels([program])
        always = count_calls([k for k in kernels if not k.is_prelude])
        folding = count_calls([k for k in kernels if k.is_prelude])
        when = f", {folding} when weights change" if any(k.is_prelude for k in kernels) else ""
        yield f"{describe_inputs(program) or 'no inputs'} on {program.device}: {always} kernels{when}"
    if len(programs) > MOST:
        yield f"and programs for {len(programs) - MOST} other kinds of inputs"


def _list_fallbacks(programs: Sequence[Program]) -> Iterator[str]:
    counts: dict[str, int] = {}
    for program in programs:
        for fallback in list_fallbacks(program):
            counts[fallback.operator] = counts.get(fallback.operator, 0) + fallback.count
    if counts:
        yield f"left to PyTorch: {_list_some([f'{operator} ({count})' for operator, count in counts.items()])}"


def _list_detours(detours: Sequence[Detour], graphs: Sequence[Program]) -> Iterator[str]:
    yield from (f"elsewhere: {detour.text.splitlines()[0]}" for detour in detours[:MOST])
    if len(detours) > MOST:
        yield f"elsewhere for {len(detours) - MOST} other reasons"
    if graphs:
        yield f"torch.compile found {len(graphs)} graph{'s' * (len(graphs) != 1)}: {count_calls(list_kernels(graphs))} kernels"
    elif any(detour.way is not Way.ORIGINAL for detour in detours):
        yield "torch.compile found no graph, so these calls run in eager"


def _list_memory(memory: Memory) -> Iterator[str]:
    if memory.weights or memory.extra:
        yield f"memory: weights {format_bytes(memory.weights)}, beside them {format_bytes(memory.extra)} at the peak of a call"


def _list_some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def list_kernels(programs: Sequence[Program]) -> list[KernelReport]:
    """The kernels of programs, equal ones once for each stage."""
    return [k for program in programs for s in program.stages if isinstance(s, CompiledStage) for k in s.report().kernels]


def count_calls(kernels: Sequence[KernelReport]) -> str:
    """How many calls of how many kernels."""
    calls = sum(kernel.calls for kernel in kernels)
    return f"{calls} call{'s' * (calls != 1)} of {len(kernels)}"


def format_bytes(count: int) -> str:
    """A number of bytes in the largest unit that leaves it above one."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
