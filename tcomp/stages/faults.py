"""Faults of tcomp's own: what goes wrong while a stage is compiled leaves that stage to PyTorch instead of refusing the model.

What the user decides or can mend stays an error: operators that no lowering serves (`fallback` says what becomes of those), budgets,
options, folders that cannot be used, memory.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch.fx import Node

from tcomp.ir.errors import BrokenCompiler, BudgetError, CacheError, RecordError, TcompError, ToolchainError
from tcomp.options import Options
from tcomp.settings import Settings
from tcomp.stages.partition import is_part_of_result

T = TypeVar("T")

USERS: tuple[type[BaseException], ...] = (BrokenCompiler, BudgetError, CacheError, RecordError, MemoryError, torch.OutOfMemoryError)
"""Errors that are the user's to know of; so is a plain TcompError, and what has no lowering."""

SHOWN = 3
"""Operators and places named in a warning."""

REPORT = """\
  The results are right, and come no faster than PyTorch's. This is a fault of tcomp: please report this text to its developers.
  TCOMP_DEBUG=FOLDER writes each step of the compilation and the traceback into a folder, which helps them; fallback="error" raises."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error inside tcomp, in one line, and its traceback."""

    what: str
    where: str
    """The line of tcomp that failed."""
    trace: str

    @property
    def reason(self) -> str:
        """Why operators are left to PyTorch."""
        return f"tcomp failed: {self.what} ({self.where})"


def contain(
    work: Callable[[], T], options: Options, settings: Settings, *, passing: tuple[type[Exception], ...] = ()
) -> T | Fault:
    """Do a part of a compilation; what fails in it that is not the user's doing becomes a Fault.

    Raises what is the user's doing or in `passing`, and every error with fallback="error" or TCOMP_RAISE_FAULTS.
    """
    if options.fallback == "error" or settings.raise_faults:
        return work()
    raised: tuple[type[BaseException], ...] = (*USERS, *passing)
    try:
        return work()
    except raised:
        raise
    # The one place that catches everything: whatever else can go wrong in passes and printers, no model is refused for it.
    except Exception as error:
        if type(error) is TcompError:
            raise
        return describe_fault(error)


def describe_fault(error: Exception) -> Fault:
    """An error as a Fault."""
    said = error.what if isinstance(error, TcompError) else str(error)
    if isinstance(error, ToolchainError) and error.where:
        # The command stands first; the compiler's first complaint is what tells kernels apart.
        said = f"{said}: {error.where.splitlines()[min(1, len(error.where.splitlines()) - 1)]}"
    first = said.strip().partition("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else "an unknown place"
    text = "".join(traceback.format_exception(error))
    return Fault(f"{type(error).__name__}: {first}" if first else type(error).__name__, where, text)


def report_fault(fault: Fault, nodes: Sequence[Node], options: Options) -> None:
    """Warn that a stage of these operators runs in eager because tcomp failed, unless fallbacks are to be silent."""
    if options.fallback == "silent":
        return
    computed = [node for node in nodes if not is_part_of_result(node)]
    kinds = list(dict.fromkeys(str(node.target) for node in computed))
    places = list(dict.fromkeys(place for node in computed if (place := describe_place(node))))
    warnings.warn(
        f"tcomp failed to compile a stage of {len(computed)} operators and leaves it to PyTorch: {fault.what}\n"
        f"  operators: {_shorten(kinds)}\n  at: {_shorten(places) or 'no line of the module'}\n  failed: {fault.where}\n{REPORT}",
        stacklevel=2,
    )


def describe_place(node: Node) -> str:
    """Where an operator comes from: its module and the user's line, as far as capture or Dynamo has noted them."""
    source = node.meta.get("source")
    return str(source) if source is not None else describe_trace(str(node.meta.get("stack_trace") or ""))


def describe_trace(stack_trace: str) -> str:
    """The innermost line of what Dynamo has noted."""
    lines = [line.strip() for line in stack_trace.splitlines()]
    found = next((line for line in reversed(lines) if line.startswith("File ")), "")
    return found.removeprefix("File ").replace('"', "")


def describe_node(node: Node) -> str:
    """Where an operator comes from, and the operator as the graph has it."""
    return " ".join(filter(None, [describe_place(node), f"({node.format_node()})"]))


def _shorten(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
