"""What the command line shows: benchmark results and checks as tables, and results as JSON."""

import dataclasses
import json
import math
import platform
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import torch
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

import tcomp
from tcomp.cli.bench import CANDIDATE, Result, Row
from tcomp.cli.doctor_check import Check
from tcomp.codegen.c.machine import read_processor
from tcomp.codegen.timing import Spread
from tcomp.files import write_whole

_CAPTION = """ms: median call, ± half the distance of the quartiles
ratio: time of the peer over time of tcomp, taken round by round; above 1, tcomp is faster
again: to compile once more with cached kernels; error: against float64, relative to the largest output
extra: memory at the peak of a call beyond inputs, weights and results; of tcomp with what it keeps between calls"""

_WIDTH = 144
"""Columns that the widest table of benchmark results takes."""

_BUSY = 0.1
"""Half the distance of the quartiles, over the median, from which a measurement is called disturbed."""

_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}


def show(content: RenderableType, width: int = _WIDTH) -> None:
    """Print to standard output, wide enough for every number even where the terminal is narrow or no terminal."""
    Console(width=max(Console().width, width)).print(content)


def make_bench_table(results: Iterable[Result]) -> Group:
    """Return one row for each model and peer, and below the table what made peers fail."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left", caption=_CAPTION)
    for name in ("model", "peer"):
        table.add_column(name, no_wrap=True)
    for name in ("ms", "ratio", "compile s", "again s", "error", "x eager's", "fallback", "extra MB"):
        table.add_column(name, justify="right", no_wrap=True)
    notes: list[Text] = []
    disturbed: list[str] = []
    for result in results:
        titles = [result.model] if result.dtype == "float32" else [result.model, f"  {result.dtype}"]
        for title, row in zip_longest(titles, result.rows):
            table.add_row(Text(title or ""), *(_format_row(row) if row else ()))
            if row and row.failure:
                notes.append(Text(f"{row.peer} failed on {result.model}: {row.failure.strip()}", style="red"))
            if row and row.seconds and row.seconds.width > _BUSY:
                disturbed.append(f"{row.peer} on {result.model}")
        table.add_section()
    if disturbed:
        notes.append(Text(f"disturbed, measure again on a quieter machine: {', '.join(disturbed)}", style="yellow"))
    return Group(table, *notes)


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
        "processor": read_processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }
    document = {"machine": machine, "results": [_make_plain(dataclasses.asdict(result)) for result in results]}
    write_whole(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _format_row(row: Row) -> tuple[str | Text, ...]:
    if row.failure:
        return (row.peer, Text("failed", style="red"))
    spread, ratio = row.seconds, None if row.peer == CANDIDATE else row.ratio
    return (
        row.peer,
        f"{_format_milliseconds(spread.median)} {_format_width(spread)}" if spread else "",
        f"{ratio.median:.2f} {_format_width(ratio)}" if ratio else "",
        "" if row.peer == "eager" else _format(row.compile_seconds, ".1f"),
        _format(row.recompile_seconds, ".1f"),
        Text(_format(row.error, ".1e"), style="" if row.right else "bold red"),
        _format(row.error_ratio, ".2f"),
        _format(row.fallback_share, ".1%"),
        "" if row.extra_bytes is None else f"{row.extra_bytes / 1e6:.1f}",
    )


def _format(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _format_width(spread: Spread) -> str:
    return f"±{spread.width:3.0%}"


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
