"""`tcomp.explain`: what a compiled module became, as text for people."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tcomp.ir.errors import TcompError, Unsupported
from tcomp.module.compiled_module import CompiledModule
from tcomp.module.summary import count_calls, format_bytes, list_kernels
from tcomp.program.kernels import LibraryStep
from tcomp.program.program import CompiledStage, Fallback, describe_inputs, list_fallbacks
from tcomp.program.reports import KernelReport, KernelUse

MOST_SOURCES = 5
"""Places that are listed for an operator left to PyTorch."""

LONGEST_NAMES = 70
"""Characters of the names of einsums in the table of kernels; in full they stand below it."""


def explain_module(compiled: CompiledModule, *, sources: bool = False) -> str:
    """A summary, and the kernels: what each computes and fused and why; with `sources` the source of every kernel.

    Of kernels for a GPU one is told what they use of it; those that are not compiled yet are compiled, which takes about a second each.

    Of kernels that several parts of the model share, the einsums of the first call stand for all. The whole cascades are
    `compiled.cascade` and `compiled.optimised`.

    Raises TcompError if nothing has been compiled yet.
    """
    if not isinstance(compiled, CompiledModule):
        raise TcompError(f"{type(compiled).__name__} is not a compiled module", where="tcomp.explain", help="pass tcomp.compile's result")
    programs = compiled.programs
    if not programs and not compiled.detours:
        raise TcompError("nothing has been compiled yet", where="tcomp.explain", help="pass example_inputs, or call it once")
    lines = [*_summarise(compiled), ""] if programs else []
    uses = compiled.uses
    for number, program in enumerate(programs):
        if len(programs) > 1:
            lines += [f"program {number + 1} of {len(programs)}: {describe_inputs(program)}", ""]
        stages = [stage for stage in program.stages if isinstance(stage, CompiledStage)]
        for position, stage in enumerate(stages):
            if len(stages) > 1:
                lines += [f"compiled stage {position + 1} of {len(stages)}", ""]
            lines += _explain_kernels(stage.report().kernels, uses, sources=sources)
    lines += [f"sizes are fixed: {reason}" for reason in compiled.fixed_sizes]
    return "\n".join([*lines, *_explain_detours(compiled), *_explain_fallbacks(compiled.fallbacks)]).rstrip()


def _summarise(compiled: CompiledModule) -> Iterator[str]:
    captured, left = (sum(report.einsums[i] for report in compiled.reports) for i in range(2))
    always, prelude = ([k for k in compiled.kernels if k.is_prelude is wanted] for wanted in (False, True))
    memory = compiled.memory
    yield f"einsums   {captured} captured, {left} after the passes"
    yield f"kernels   {count_calls(always)}" + (f"; {count_calls(prelude)} when weights change" if prelude else "")
    yield f"arena     {format_bytes(memory.arena)} at its peak, reused by intermediate tensors"
    yield f"weights   {format_bytes(memory.weights)}, packed or folded from them {format_bytes(memory.folded)}"
    yield f"extra     {format_bytes(memory.extra)} at its peak beyond inputs, weights and results; eager {_describe_eager(compiled)}"
    yield f"fallbacks {f'{sum(f.count for f in compiled.fallbacks)} calls, listed at the end' if compiled.fallbacks else 'none'}"


def _describe_eager(compiled: CompiledModule) -> str:
    try:
        return format_bytes(compiled.estimate_eager_memory())
    except Unsupported as error:
        return f"unknown, since {error.what}"


def describe_use(use: KernelUse | LibraryStep | TcompError) -> str:
    """What a kernel uses of a GPU, in a line."""
    if isinstance(use, TcompError):
        return f"unknown: {use.what}"
    if isinstance(use, LibraryStep):
        return f"torch.{use.operation} in its place, since that was measured to be faster"
    resources = use.resources
    shared = f"{format_bytes(resources.shared)} shared" if resources.shared else "nothing shared"
    spilled = f"{resources.spilled} bytes spilled" if resources.spilled else "none spilled"
    cores = resources.tensor_cores or "no tensor cores"
    instances = "1 instance" if use.instances == "1" else f"{use.instances} instances"
    warps = f"{instances} of {use.warps} warp{'s' * (use.warps != 1)}, {use.stages} stages"
    return f"{resources.registers} registers, {spilled}, {shared}, {cores}; {warps}; occupancy {use.occupancy:.0%}"


def _explain_kernels(
    kernels: Sequence[KernelReport], uses: Mapping[str, KernelUse | LibraryStep | TcompError], *, sources: bool
) -> Iterator[str]:
    """A table of the kernels, then each with its einsums, those of its first call, whose copies are not shown."""
    name_width = max((len(kernel.name) for kernel in kernels), default=0)
    kind_width = max((len(kernel.kind) for kernel in kernels), default=0)
    yield f"calls  {'kernel':{name_width}}  {'kind':{kind_width}}  computes"
    for kernel in kernels:
        names = ", ".join(name for name, _ in kernel.einsums)
        names = textwrap.shorten(names, LONGEST_NAMES, placeholder=" ...")
        yield f"{kernel.calls:5}  {kernel.name:{name_width}}  {kernel.kind:{kind_width}}  {names}"
    yield ""
    for kernel in kernels:
        yield from _explain_kernel(kernel, uses.get(kernel.name), sources=sources)
        yield ""


def _explain_kernel(kernel: KernelReport, use: KernelUse | LibraryStep | TcompError | None, *, sources: bool) -> Iterator[str]:
    times = "once" if kernel.calls == 1 else f"{kernel.calls} times"
    yield f"{kernel.name}, called {times}" + (" when weights change" if kernel.is_prelude else "")
    yield from (f"  # {origin}" for origin in kernel.origins)
    yield from (f"  {text}" for _, text in kernel.einsums)
    yield f"  why   {kernel.why}"
    yield f"  loops {kernel.loops or 'none'}"
    if use is not None:
        yield f"  uses  {describe_use(use)}"
    if sources:
        yield from (f"  | {line}".rstrip() for line in kernel.source.splitlines())


def _explain_detours(compiled: CompiledModule) -> Iterator[str]:
    if not compiled.detours:
        return
    yield "calls that no program serves"
    yield from (f"  {text}" for text in compiled.detours)
    yield f"  graphs that torch.compile found: {len(compiled.graphs)}, kernels: {count_calls(list_kernels(compiled.graphs))}"
    left = Counter(fallback.operator for program in compiled.graphs for fallback in list_fallbacks(program) for _ in range(fallback.count))
    if left:
        yield f"  left to PyTorch in them: {', '.join(f'{name} ({count})' for name, count in left.items())}"


def _explain_fallbacks(fallbacks: tuple[Fallback, ...]) -> Iterator[str]:
    if not fallbacks:
        return
    yield "left to PyTorch"
    for fallback in fallbacks:
        share = "" if fallback.share is None else f", {100 * fallback.share:.1f} % of the time"
        yield f"  {fallback.operator}, {fallback.count} calls{share}: {fallback.reason}"
        sources = [source for source in dict.fromkeys(fallback.sources) if source]
        yield from (f"    at {source}" for source in sources[:MOST_SOURCES])
        if len(sources) > MOST_SOURCES:
            yield f"    and at {len(sources) - MOST_SOURCES} other places"
