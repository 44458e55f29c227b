"""`tcomp.explain`: what a compiled module became, as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from tcomp.compiled_module import CompiledModule
from tcomp.dispatch import Fallback
from tcomp.ir.errors import TcompError
from tcomp.program import CompiledStage, KernelReport, Program, StageReport
from tcomp.sizes import TensorSpec


def explain_module(compiled: CompiledModule, *, sources: bool = False) -> str:
    """Cascade, kernels and what each fused and why, memory, and operators left to PyTorch; with `sources` the C of every kernel.

    Raises TcompError if nothing has been compiled yet.
    """
    if not isinstance(compiled, CompiledModule):
        raise TcompError(f"{type(compiled).__name__} is not a compiled module", where="tcomp.explain", help="pass tcomp.compile's result")
    programs = compiled.programs
    if not programs:
        raise TcompError("nothing has been compiled yet", where="tcomp.explain", help="pass example_inputs, or call it once")
    lines: list[str] = []
    for number, program in enumerate(programs):
        if len(programs) > 1:
            lines += [f"program {number + 1} of {len(programs)}: {describe_inputs(program)}", ""]
        stages = [stage for stage in program.stages if isinstance(stage, CompiledStage)]
        for position, stage in enumerate(stages):
            if len(stages) > 1:
                lines += [f"compiled stage {position + 1} of {len(stages)}", ""]
            lines += _explain_stage(stage.report(), sources=sources)
    memory = compiled.memory
    lines += [
        "memory",
        f"  arena {format_bytes(memory.arena)} at its peak, reused by intermediate tensors",
        f"  weights {format_bytes(memory.weights)}, packed or folded from them {format_bytes(memory.folded)}",
        "",
        *(f"sizes are fixed: {reason}" for reason in compiled.fixed_sizes),
        *_explain_fallbacks(compiled.fallbacks),
    ]
    return "\n".join(lines)


def describe_inputs(program: Program) -> str:
    """The inputs of a program in short: f32[2, 8]."""
    parts = []
    for given in program.inputs:
        if isinstance(given, TensorSpec):
            parts.append(f"{str(given.dtype).removeprefix('torch.')}[{', '.join(map(str, given.shape))}]")
        else:
            parts.append(repr(given.value))
    return ", ".join(parts)


def format_bytes(count: int) -> str:
    """A number of bytes in the largest unit that leaves it above one."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _explain_stage(report: StageReport, *, sources: bool) -> Iterator[str]:
    origins = dict(report.sources)
    yield report.cascade
    yield ""
    if origins:
        yield "where it comes from"
        for origin, names in _gather(origins).items():
            yield f"  {origin}: {', '.join(names)}"
        yield ""
    calls = sum(kernel.calls for kernel in report.kernels)
    yield f"{len(report.kernels)} kernels, {calls} calls"
    for kernel in report.kernels:
        yield from _explain_kernel(kernel, sources=sources)
    yield ""


def _gather(origins: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, origin in origins.items():
        found.setdefault(origin, []).append(name)
    return found


def _explain_kernel(kernel: KernelReport, *, sources: bool) -> Iterator[str]:
    times = "once" if kernel.calls == 1 else f"{kernel.calls} times"
    yield f"  {kernel.name}, called {times}"
    yield f"    computes {', '.join(kernel.einsums)}"
    yield f"    because {kernel.why}"
    yield f"    {kernel.schedule}"
    if sources:
        yield from (f"    | {line}".rstrip() for line in kernel.source.splitlines())


def _explain_fallbacks(fallbacks: tuple[Fallback, ...]) -> Iterator[str]:
    if not fallbacks:
        yield "nothing is left to PyTorch"
        return
    yield "left to PyTorch"
    for fallback in fallbacks:
        share = "" if fallback.share is None else f", {100 * fallback.share:.1f} % of the time"
        yield f"  {fallback.operator}, {fallback.count} calls{share}: {fallback.reason}"
        yield from (f"    at {source}" for source in dict.fromkeys(fallback.sources) if source)
