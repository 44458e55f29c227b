"""What must hold of a program: compiled, it does what it does in eager. `examine_program` asks."""

from __future__ import annotations

import traceback
import warnings
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tcomp.fuzz.finding import Finding
from tcomp.fuzz.programs.compare import Difference, find_difference
from tcomp.fuzz.programs.compilers import COMPILERS
from tcomp.fuzz.programs.converters import CONVERTERS, RefusedModel
from tcomp.fuzz.programs.memory import describe_excess
from tcomp.fuzz.programs.program import Program, parse_program
from tcomp.fuzz.programs.run import Compile, Record, run_program
from tcomp.fuzz.programs.syntax import name_operator, written_name

FRAMES = 3
"""Innermost functions of the compiler that tell one exception from another."""


def describe_invalid(program: Program) -> str:
    """Why eager cannot run a program's first call, so that nothing follows from it; empty if it can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            first = run_program(replace(program, calls=program.calls[:1]))[0]
        # A member that cannot be made.
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
    return "" if first.error is None else f"{type(first.error).__name__}: {first.error}"


def examine_program(program: Program, compile: Compile = COMPILERS["tcomp"]) -> tuple[Finding | None, frozenset[str]]:
    """What a compiler does otherwise than eager, or None; and the features of what the program does."""
    if parse_program(str(program)) != program:
        return Finding("text", "parse_program", "it parses to another program", str(parse_program(str(program)))), frozenset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = _Features()
        with features:
            eager = run_program(program)
        found = compare_runs(program, eager, compile)
        if found is None:
            excess = None if compile in CONVERTERS.values() else describe_excess(program, compile)
            return excess, frozenset(features.found)
        difference, ours = found
        return _blame(program, difference, ours, compile), frozenset(features.found)


def compare_runs(program: Program, eager: list[Record], compile: Compile) -> tuple[Difference, list[Record]] | None:
    """What a compiled program does otherwise than in eager, and its records; nothing where PyTorch itself does it otherwise."""
    is_converter = compile in CONVERTERS.values()
    if is_converter and program.trains:
        return None
    try:
        ours = run_program(program, compile)
    # Compiling may fail before any call.
    except Exception as error:  # noqa: BLE001
        ours = [Record(error=error)]
    if isinstance(ours[-1].error, RefusedModel):
        ours = ours[:-1]
    difference = find_difference(program, ours, eager, numbers_only=is_converter)
    if difference is None:
        return None
    # With gradients tcomp.compile goes through Dynamo and AOTAutograd too.
    by_dynamo = program.way == "dynamo" or program.trains or compile is not COMPILERS["tcomp"]
    if not is_converter and compile in COMPILERS.values() and by_dynamo:
        for name in ("dynamo", "aot_eager"):
            if compile is COMPILERS[name]:
                continue
            theirs = find_difference(program, run_program(program, COMPILERS[name]), eager)
            if theirs is not None and (theirs.oracle, theirs.call) == (difference.oracle, difference.call):
                return None
    return difference, ours


def _blame(program: Program, difference: Difference, ours: list[Record], compile: Compile) -> Finding:
    """The finding of a difference: whose fault it is, as far as can be told."""
    error = ours[difference.call].error if difference.call < len(ours) else None
    if difference.oracle == "exception" and error is not None:
        return Finding("exception", _place(error), difference.what, "".join(traceback.format_exception(error)))
    guilty = _find_guilty(program, difference, compile)
    # The message of an error says what is wrong; of all else, which tensors and numbers is for the reader alone.
    what = difference.what if difference.oracle in ("errors", "structure") else f"of {_kind(difference.about)}"
    return Finding(difference.oracle, guilty, what, f"{difference.what}\nin call {difference.call}")


def _find_guilty(program: Program, difference: Difference, compile: Compile) -> str:
    """The operator of the first statement whose own result, if it is all that is returned, shows the same difference."""
    for place, statement in enumerate(program.statements[:-1]):
        name = written_name(statement)
        if name is None:
            continue
        shorter = replace(program, statements=(*program.statements[: place + 1], f"return {name}"))
        eager = run_program(shorter)
        if any(record.error is not None for record in eager):
            continue
        found = compare_runs(shorter, eager, compile)
        if found is not None and found[0].oracle == difference.oracle:
            return name_operator(statement)
    return name_operator(program.statements[-1]) if len(program.statements) == 1 else "together"


def _kind(about: str) -> str:
    return "result" if about.startswith("result") else "member" if about.startswith("self.") else "input" if about else "module"


def _place(error: BaseException) -> str:
    """The innermost functions of the compiler that an exception came through."""
    while error.__cause__ is not None and not any(_is_ours(frame.filename) for frame in traceback.extract_tb(error.__traceback__)):
        error = error.__cause__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    named = [f"{frame.filename.rsplit('/', 1)[-1].removesuffix('.py')}.{frame.name}" for frame in frames[: -FRAMES - 1 : -1]]
    return " < ".join(named) or "PyTorch"


def _is_ours(filename: str) -> bool:
    return not any(part in filename for part in ("/fuzz/", "/torch/", "/site-packages/", "<")) and "/lib/python" not in filename


class _Features(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operators with the type, rank and size class of their first tensor, and whether it is contiguous."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = next((leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)), None)
        if first is not None:
            count = first.numel()
            size = "none" if count == 0 else "one" if count == 1 else "small" if count < 64 else "middle" if count < 4096 else "large"
            kind = f"{str(first.dtype).removeprefix('torch.')} rank {first.dim()} {size}"
            self.found.add(f"{func} {kind}{'' if first.is_contiguous() else ' strided'}")
        return func(*args, **(kwargs or {}))


