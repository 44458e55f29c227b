"""Prints reports: with rich where it is installed, as plain columns where it is not."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.gpu.report import Sheet

WIDTH = 200
"""Columns that tables may take, also where the output is no terminal."""


def show(parts: Iterable[str | Sheet]) -> None:
    """Print lines and tables."""
    tables = find_rich()
    for part in parts:
        if isinstance(part, str):
            print(part)
        elif tables is None:
            print("\n".join(["", *format_sheet(part)]))
        else:
            _print_rich(part, tables)


@contextlib.contextmanager
def watch(total: int) -> Iterator[Callable[[str], None]]:
    """Show how far a run has come, on a terminal with rich; what is given is called with each row that is done."""
    if not sys.stderr.isatty() or find_rich() is None:
        yield lambda text: None
        return
    parts, console = importlib.import_module("rich.progress"), importlib.import_module("rich.console").Console(stderr=True)
    columns = parts.BarColumn(), parts.MofNCompleteColumn(), parts.TimeElapsedColumn(), parts.TextColumn("{task.description}")
    with parts.Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=total)
        yield lambda text: progress.update(bar, advance=1, description=text)


def find_rich() -> tuple[Any, Any, Any] | None:
    """The modules of rich that are needed, or None where it is not installed."""
    try:
        return importlib.import_module("rich.table"), importlib.import_module("rich.console"), importlib.import_module("rich.box")
    except ImportError:
        return None


def format_sheet(sheet: Sheet) -> list[str]:
    """The lines of a table in columns."""
    lines = (sheet.header, *sheet.lines)
    widths = [max(len(line[column]) for line in lines) for column in range(len(sheet.header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def _print_rich(sheet: Sheet, modules: tuple[Any, Any, Any]) -> None:
    table, console, box = modules
    made = table.Table(*(table.Column(name, no_wrap=True) for name in sheet.header), box=box.SIMPLE_HEAD, pad_edge=False)
    for line in sheet.lines:
        # Square brackets are text here.
        made.add_row(*(cell.replace("[", "\\[") for cell in line))
    console.Console(width=WIDTH).print(made)
