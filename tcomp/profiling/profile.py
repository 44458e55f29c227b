"""What a profile says, as data: a table when it is printed, and in files JSON or a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from tcomp.codegen.c.roofline import Roofline
from tcomp.codegen.timing import Spread
from tcomp.files import write_whole
from tcomp.profiling.rows import ProfileRow
from tcomp.profiling.table import Order, describe_roofline, format_seconds, make_table, print_plain

BUSY = 0.1
"""Half the distance of the quartiles of calls, over their median, from which a profile is called disturbed."""

IMPOSSIBLE = 1.1
"""The share of the roofline from which the roofline is in doubt: no kernel takes less than the machine needs."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of a call went. Printed, it is a table."""

    module: str
    inputs: str
    """As in `f32[2, 8]`."""
    date: str
    processor: str
    threads: int
    rounds: int
    call: Spread
    """Seconds of a whole call, kernels after one another as ever."""
    beside: Spread
    """Seconds of a call less those of its steps, round by round: what Python and starting threads take, less the barriers of a profile."""
    rows: tuple[ProfileRow, ...]
    """In the order in which steps run."""
    roofline: Roofline | None
    without_roofline: str = ""
    """Why the machine was not measured."""

    def __rich__(self) -> RenderableType:
        """The table, in the order of the program."""
        return self.make_table()

    def __str__(self) -> str:
        return print_plain(self.make_table())

    def make_table(self, order: Order = "program") -> RenderableType:
        """A table for `rich`, of steps in the order of the program, or those that take longest first."""
        head = [
            f"{self.module}({self.inputs}), {describe_threads(self)}, {self.date}",
            f"a call takes {format_seconds(self.call)}, its steps {1e3 * self.seconds:.3g} ms, the rest of it "
            f"{1e3 * self.beside.median:.2g} ms; medians of {self.rounds} rounds",
        ]
        if self.call.width > BUSY:
            head.append("disturbed: calls differ in time, measure again on a quieter machine")
        if any((row.roofline_share or 0.0) > IMPOSSIBLE for row in self.rows):
            head.append("faster than possible: the machine was busy when its roofline was measured, measure that again too (--again)")
        machine = f"the machine was not measured: {self.without_roofline}" if self.roofline is None else describe_roofline(self.roofline)
        return make_table(head, self.rows, self.roofline_share, machine, order)

    @property
    def seconds(self) -> float:
        """The medians of all steps together."""
        return sum(row.seconds.median for row in self.rows)

    @property
    def operations(self) -> int:
        """Those of all kernels together."""
        return sum(row.operations or 0 for row in self.rows)

    @property
    def bytes(self) -> int:
        """Those of all kernels together, once for each kernel that moves them."""
        return sum(row.bytes or 0 for row in self.rows)

    @property
    def roofline_share(self) -> float | None:
        """That of all kernels together."""
        bounds = [(row.bound.seconds, row.seconds.median) for row in self.rows if row.bound is not None]
        measured = sum(seconds for _, seconds in bounds)
        return sum(least for least, _ in bounds) / measured if measured else None

    def to_json(self) -> str:
        """Everything that was measured and counted, as a JSON document; seconds, bytes and operations are plain numbers."""
        return json.dumps(_describe(self), indent=2, allow_nan=False) + "\n"

    def to_trace(self) -> str:
        """The steps as a trace in Chrome's trace event format, for chrome://tracing and Perfetto: one event a step, at its median."""
        return json.dumps({"traceEvents": list(_list_events(self)), "displayTimeUnit": "ms"}, allow_nan=False) + "\n"

    def save_json(self, path: str | Path) -> None:
        """Write `to_json`, whole or not at all. Raises TcompError."""
        write_whole(Path(path), self.to_json())

    def save_trace(self, path: str | Path) -> None:
        """Write `to_trace`, whole or not at all. Raises TcompError."""
        write_whole(Path(path), self.to_trace())


def describe_threads(profile: Profile) -> str:
    """How many threads of which processor."""
    return f"{profile.threads} thread{'s' * (profile.threads != 1)} of {profile.processor}"


def _describe(profile: Profile) -> dict[str, Any]:
    totals = {
        "seconds": profile.seconds,
        "operations": profile.operations,
        "bytes": profile.bytes,
        "roofline_share": profile.roofline_share,
    }
    return {**asdict(profile), "total": totals, "rows": [_describe_row(row) for row in profile.rows]}


def _describe_row(row: ProfileRow) -> dict[str, Any]:
    limit = None if row.bound is None else row.bound.limit
    return {**asdict(row), "limit": limit, "roofline_share": row.roofline_share}


def _list_events(profile: Profile) -> Iterator[dict[str, Any]]:
    names = {"process_name": f"tcomp: {profile.module}({profile.inputs})", "thread_name": describe_threads(profile)}
    yield from ({"ph": "M", "name": kind, "pid": 1, "tid": 1, "args": {"name": name}} for kind, name in names.items())
    start = 0.0
    for row in profile.rows:
        duration = row.seconds.median * 1e6
        arguments = {name: value for name, value in _describe_row(row).items() if name != "name" and value is not None}
        kind = "kernel" if row.is_kernel else "operator"
        yield {"ph": "X", "name": row.name, "cat": kind, "pid": 1, "tid": 1, "ts": start, "dur": duration, "args": arguments}
        start += duration
