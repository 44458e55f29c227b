"""What the command line shows: benchmark results and checks as tables, and results as JSON."""

import dataclasses
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from rich.table import Table
from rich.text import Text

import tcomp
from tcomp.bench import CANDIDATE, Result, Row, Spread
from tcomp.doctor import Check
from tcomp.ir.errors import TcompError

_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}


def make_bench_table(results: Iterable[Result]) -> Table:
    """Return one row for each model and peer; ratios are the peer's time over that of tcomp."""
    table = Table(caption="ratio: time of the peer over time of tcomp, above 1 tcomp is faster; [..]: quartiles")
    for name in ("model", "peer"):
        table.add_column(name, no_wrap=True)
    for name in ("ms", "ratio", "compile s", "again s", "error", "x eager's", "fallback"):
        table.add_column(name, justify="right")
    for result in results:
        title = result.model if result.dtype == "float32" else f"{result.model} {result.dtype}"
        for index, row in enumerate(result.rows):
            table.add_row(title if index == 0 else "", row.peer, *_format_row(row))
        table.add_section()
    return table


def summarise(result: Result) -> str:
    """Return one line on a model: the time of tcomp and what it is over each peer."""
    candidate = result.find_row(CANDIDATE)
    if candidate is None or candidate.seconds is None:
        reason = candidate.failure if candidate else "not measured"
        return f"{result.model}: {CANDIDATE} failed: {_first_line(reason)}"
    others = [f"{row.ratio.median:.2f}x {row.peer}" for row in result.rows if row.ratio and row.peer != CANDIDATE]
    wrong = "" if candidate.right else ", and the result is WRONG"
    return f"{result.model}: {_format_milliseconds(candidate.seconds.median)} ms, {', '.join(others) or 'alone'}{wrong}"


def make_check_table(checks: Iterable[Check]) -> Table:
    """Return one row for each check of the doctor, a fix below what needs one."""
    table = Table(show_header=False)
    for check in checks:
        found = Text(check.found)
        if check.fix:
            found.append(f"\nfix: {check.fix}", style=_COLOURS[check.status])
        table.add_row(check.name, Text(check.status, style=_COLOURS[check.status]), found)
    return table


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write results and the machine they come from as JSON; a reader never sees half a file.

    Raises TcompError where the file cannot be written.
    """
    machine = {
        "tcomp": tcomp.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _find_processor(),
        "threads": torch.get_num_threads(),
    }
    document = {"machine": machine, "results": [_make_plain(dataclasses.asdict(result)) for result in results]}
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            json.dump(document, file, indent=2, allow_nan=False)
            file.write("\n")
        Path(name).replace(path)
    except OSError as error:
        raise TcompError(f"cannot write {path}", where=str(error), help="name a file in a folder of yours") from error


def _format_row(row: Row) -> tuple[str | Text, ...]:
    if row.failure:
        return (Text(f"failed: {_first_line(row.failure)}", style="red"), *[""] * 6)
    error = Text(_format(row.error, ".1e"), style="" if row.right else "bold red")
    return (
        _format_spread(row.seconds),
        "" if row.peer == CANDIDATE or row.ratio is None else _format_ratio(row.ratio),
        "" if row.peer == "eager" else _format(row.compile_seconds, ".1f"),
        _format(row.recompile_seconds, ".1f"),
        error,
        _format(row.error_ratio, ".2f"),
        _format(row.fallback_share, ".1%"),
    )


def _format(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _format_ratio(spread: Spread) -> str:
    return f"{spread.median:.2f} [{spread.low:.2f}..{spread.high:.2f}]"


def _format_spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return " ".join(
        (
            _format_milliseconds(spread.median),
            f"[{_format_milliseconds(spread.low)}..{_format_milliseconds(spread.high)}]",
        )
    )


def _format_milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1e3
    return f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:100]


def _make_plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _make_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(part) for part in value]
    return value


def _find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
