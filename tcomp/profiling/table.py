"""A profile as a table for people."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Literal, TypeAlias

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcomp.codegen.c.roofline import Rate, Roofline
from tcomp.codegen.timing import Spread
from tcomp.profiling.rows import ProfileRow

Order: TypeAlias = Literal["program", "time"]

LONGEST_NAME = 34
LONGEST_COMPUTES = 40
"""Characters that names and what is computed take at most."""

WIDTH = 176
"""Columns that the widest table takes."""

COLUMNS = ("ms", "share", "GFLOP", "MB", "GFLOP/s", "GB/s", "bound by", "of roofline")


def make_table(
    head: Sequence[str], rows: Sequence[ProfileRow], roofline_share: float | None, machine: str, order: Order
) -> RenderableType:
    """The lines of `head`, a row for each step, one for all together, whose share of the roofline is given, and a line on the machine."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    total = sum(row.seconds.median for row in rows)
    operations, moved = sum(row.operations or 0 for row in rows), sum(row.bytes or 0 for row in rows)
    rates = _rates(total, operations, moved)
    footers = ("", "total", "", f"{1e3 * total:.3g}     ", "100.0%" if total else "", *rates, "", _percent(roofline_share))
    names = ("step", "kernel", "computes", *COLUMNS)
    for number, (name, footer) in enumerate(zip(names, footers, strict=True)):
        justify: Literal["left", "right"] = "left" if name in ("kernel", "computes", "bound by") else "right"
        table.add_column(name, footer, justify=justify, no_wrap=True, min_width=len(footer) if number else None)
    for row in rows if order == "program" else sorted(rows, key=lambda row: -row.seconds.median):
        table.add_row(*(Text(cell) for cell in _cells(row, total)))
    return Group(*(Text(line) for line in head), table, Text(machine))


def _cells(row: ProfileRow, total: float) -> tuple[str, ...]:
    seconds = row.seconds.median
    return (
        str(row.step),
        shorten(row.name, LONGEST_NAME),
        shorten(row.computes, LONGEST_COMPUTES),
        format_seconds(row.seconds).replace(" ms", ""),
        f"{seconds / total:.1%}" if total else "",
        *_rates(seconds, row.operations, row.bytes),
        row.bound.limit if row.bound is not None else "",
        _percent(row.roofline_share),
    )


def _rates(seconds: float, operations: int | None, moved: int | None) -> tuple[str, str, str, str]:
    """GFLOP, MB, GFLOP/s and GB/s; nothing where nothing was counted."""

    def rate(count: int | None) -> str:
        return format_number(count / seconds / 1e9) if count and seconds else ""

    return (
        "" if operations is None else format_number(operations / 1e9),
        "" if moved is None else format_number(moved / 1e6),
        rate(operations),
        rate(moved),
    )


def describe_roofline(roofline: Roofline) -> str:
    """What was measured of the machine, in a line."""
    peaks = ", ".join(f"{format_number(peak / 1e9)} GFLOP/s in {dtype}" for dtype, peak in roofline.peaks)
    memory = _describe_rate(roofline.memory)
    cached = "; ".join(f"{_size(rate.bytes)} {_describe_rate(rate)}" for rate in _choose(roofline.rates[:-1]))
    return f"roofline: {peaks}; memory {memory}; caches, by how much is walked: {cached}"


def _describe_rate(rate: Rate) -> str:
    return f"{format_number(rate.read / 1e9)} GB/s read, {format_number(rate.copy / 1e9)} copied"


def _choose(rates: Sequence[Rate]) -> Sequence[Rate]:
    """A few of many."""
    return rates[:: max(1, len(rates) // 3)]


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def format_seconds(spread: Spread) -> str:
    """Milliseconds, and half the distance of the quartiles: 1.23 ± 4% ms."""
    return f"{1e3 * spread.median:.3g} ±{spread.width:3.0%} ms"


def format_number(value: float) -> str:
    """A number with three digits, and no more of them than say something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 or not value else f"{value:.1e}"


def shorten(text: str, width: int) -> str:
    """The beginning of a text, cut between words if it can be."""
    cut = textwrap.shorten(text, width, placeholder=" ...")
    return text[: width - 4] + " ..." if cut == " ..." or (cut == "..." and text) else cut


def print_plain(content: RenderableType) -> str:
    """What `rich` shows, as text without colours."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
    console.print(content)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
