"""Whether a compiled program holds more memory at its peak than eager does."""

from __future__ import annotations

import torch

from tcomp.fuzz.finding import Finding
from tcomp.fuzz.programs.program import Program
from tcomp.fuzz.programs.run import Compile, build, make_inputs
from tcomp.fuzz.programs.source import print_arguments
from tcomp.fuzz.programs.syntax import name_operator

FACTOR = 1.25
"""Times eager's extra memory that a compiled program may hold."""
SPARE = 1 << 18
"""Bytes more than that: arenas are rounded up, and threads have partial results of their own."""
_ALLOCATION = "[memory]"
"""What PyTorch's profiler calls the note of an allocation, or of memory given back."""


def describe_excess(program: Program, compile: Compile) -> Finding | None:
    """What is wrong with the memory that a program takes beyond its inputs and results, if it asks for that."""
    if not program.option("memory") or program.trains:
        return None
    eager, ours = _measure(program, None), _measure(program, compile)
    if ours <= FACTOR * eager + SPARE:
        return None
    operators = name_operator(program.statements[0]) if len(program.statements) == 2 else "together"
    return Finding("memory", operators, "its peak is above eager's", f"{ours} bytes beyond inputs and results, eager {eager}")


def _measure(program: Program, compile: Compile | None) -> int:
    """Bytes that the second call of a program holds at its peak, above what it returns."""
    module = build(program)
    run = module if compile is None else compile(program, module)
    peak = held = 0
    with torch.no_grad():
        for _ in range(2):
            arguments = eval(f"[{print_arguments(program)}]", make_inputs(program, 0))
            with torch.autograd.profiler.profile(profile_memory=True) as profile:
                results = run(*arguments)
            assert profile.kineto_results is not None
            notes = [event for event in profile.kineto_results.events() if event.name() == _ALLOCATION]
            peak = held = 0
            for note in sorted(notes, key=lambda event: event.start_ns()):
                held += note.nbytes()
                peak = max(peak, held)
            del results
    return peak - held
