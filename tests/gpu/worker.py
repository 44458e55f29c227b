"""A process that runs rows one at a time, and may crash or hang without harm to others; nothing here needs torch.

    to a worker    ("start", label, left out) | ("resume",)
    from a worker  ("ready", about) | ("trying", peer, result so far) | ("parked", result so far) | ("done", result)
                   | ("last", result), done, and the process ends

A row is a function that returns a result; or, where it has two parts, to prepare and to measure, a generator, which yields its result
so far between them, waits there until it is resumed when nothing else runs, and returns its result.
"""

from __future__ import annotations

import contextlib
import inspect
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from tests.gpu.results import Row, Skip

DISMISSAL = 3.0
"""Seconds that an idle process has to end by itself."""
TAIL = 1500
"""Characters of what a worker printed that are shown when it dies."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a row is told, and whom it tells what it tries next."""

    left_out: Mapping[str, str]
    """Peers that are not to be tried again, with the reason."""
    trying: Callable[[str, Row], None]
    """To be called with the name of a peer before it is tried, so that it can be left out if it crashes or hangs, and the result so far;
    "" for what a row cannot do without."""


RowFunction: TypeAlias = Callable[[Task], Row | Generator[Row, None, Row]]


class Table(Protocol):
    """All rows, opened in each worker."""

    rows: Mapping[str, RowFunction]
    """By label: section/name."""

    def describe(self) -> dict[str, Any]:
        """The machine, for the report."""

    def finish_part(self) -> str:
        """Clean up after a part of a row; returns what is wrong with the device, if it is of no more use to this process."""


@dataclass(slots=True)
class _Current:
    """The row that a process is at."""

    label: str
    started: float
    so_far: Row | None = None
    generator: Generator[Row, None, Row] | None = None


def serve(connection: Any, open_table: Callable[[], Table], log: Path) -> None:
    """Run rows until the other side hangs up."""
    # A group of its own, so that what it starts ends with it, and an interrupt reaches only the parent.
    os.setpgrp()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    table = open_table()
    connection.send(("ready", table.describe()))
    current = _Current("", 0.0)
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if message[0] == "start":
            _, label, left_out = message
            current = _Current(label, time.monotonic())
            kind, row = _attempt(current, partial(_start, table.rows[label], left_out, connection))
        else:
            kind, row = _attempt(current, _advance)
        fault = table.finish_part()
        if fault:
            kind, row = "last", replace(row, status="failed", detail=f"{fault}\n{row.detail}".strip())
        connection.send((kind, row))
        if fault:
            return


def _start(function: RowFunction, left_out: Mapping[str, str], connection: Any, current: _Current) -> tuple[str, Row]:
    """Run a row, or its first part."""
    outcome = function(Task(left_out, lambda peer, row: connection.send(("trying", peer, row))))
    if not inspect.isgenerator(outcome):
        assert isinstance(outcome, Row), "a row returns its result"
        return "done", outcome
    current.generator = outcome
    return _advance(current)


def _advance(current: _Current) -> tuple[str, Row]:
    """Run a row up to its next rest."""
    assert current.generator is not None, "what is resumed was parked"
    try:
        current.so_far = next(current.generator)
    except StopIteration as stop:
        return "done", stop.value
    return "parked", current.so_far


def _attempt(current: _Current, action: Callable[[_Current], tuple[str, Row]]) -> tuple[str, Row]:
    """Do it; what it raises becomes the row's result."""
    section, _, name = current.label.partition("/")
    so_far = current.so_far or Row(section, name, "failed")
    try:
        kind, row = action(current)
    except Skip as reason:
        kind, row = "done", replace(so_far, status="skipped", detail=str(reason))
    except Exception as error:  # noqa: BLE001 (whatever a row raises is what it says)
        kind, row = "done", replace(so_far, status="failed", detail=describe_error(error))
    return kind, replace(row, seconds=time.monotonic() - current.started)


def describe_error(error: Exception) -> str:
    """What was raised, on the first line in short, then where."""
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.partition(chr(10))[0]}\n{''.join(traceback.format_exception(error))}"


@dataclass(slots=True)
class Worker:
    """The handle of a process that serves."""

    open_table: Callable[[], Table]
    log: Path
    label: str = ""
    """The row it runs or has parked; empty if it is idle."""
    left_out: dict[str, str] = field(default_factory=dict)
    trying: str = ""
    so_far: Row | None = None
    """What is known of the row."""
    is_ready: bool = False
    is_parked: bool = False
    is_resumed: bool = False
    since: float = 0.0
    """When it was last told to do something."""
    process: Any = None
    connection: Any = None

    def launch(self) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, self.open_table, self.log))
        self.process.start()
        other.close()
        self.since = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether it is running a row, not idle or parked."""
        return bool(self.label) and not self.is_parked

    @property
    def is_idle(self) -> bool:
        """Whether it can be given a row."""
        return self.is_ready and not self.label

    def start(self, label: str, left_out: Mapping[str, str]) -> None:
        """Have it run a row."""
        self.label, self.left_out, self.trying, self.so_far, self.is_resumed = label, dict(left_out), "", None, False
        self._send(("start", label, self.left_out))

    def resume(self) -> None:
        """Have it go on with what it parked."""
        self.is_parked, self.is_resumed, self.trying = False, True, ""
        self._send(("resume",))

    def receive(self) -> tuple[Any, ...] | None:
        """The next message, or None if the process has ended."""
        try:
            message: tuple[Any, ...] = self.connection.recv()
        except (EOFError, OSError):
            return None
        match message[0]:
            case "ready":
                self.is_ready = True
            case "trying":
                self.trying, self.so_far = message[1:]
            case "parked":
                self.is_parked, self.so_far = True, message[1]
            case "done":
                self.label = ""
            case "last":
                self.label, self.is_ready = "", False
        return message

    def kill(self) -> None:
        """End the process and all it started, without waiting for that."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # It has ended, or has not come to make a group of its own.
            self.process.kill()

    def dismiss(self) -> None:
        """Hang up, so that an idle process ends by itself."""
        self.connection.close()
        self.process.join(DISMISSAL)

    def stop(self) -> None:
        """End the process and all it started."""
        self.kill()
        self.process.join(10)
        self.connection.close()

    def describe_end(self) -> str:
        """How a process ended that was not told to, and the last it printed."""
        self.process.join(10)
        code = self.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        return f"the worker died, {how}{self.read_tail()}"

    def read_tail(self) -> str:
        """The end of what the process printed."""
        try:
            text = self.log.read_text(errors="replace").strip()
        except OSError:
            text = ""
        return f"\n{text[-TAIL:]}" if text else ""

    def _send(self, message: tuple[Any, ...]) -> None:
        self.since = time.monotonic()
        # Where it has died meanwhile, the next receive says so.
        with contextlib.suppress(OSError):
            self.connection.send(message)
