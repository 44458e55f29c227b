"""Run a command that may hang, print without end or leave processes behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

MOST_OUTPUT = 1 << 24
"""Bytes of output that are kept."""

CHUNK = 1 << 16

PATIENCE = 2.0
"""Seconds that a command may take to clean up when it is told to end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its status (negative for a signal), or None if it took too long; and what it said, as far as it is text."""

    status: int | None
    output: str
    errors: str


def run_limited(command: Sequence[str], limit: float) -> Ended:
    """Run a command with an empty input for so many seconds at most, and end with it whatever it has started.

    Raises OSError if it cannot be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    kept: tuple[list[bytes], list[bytes]] = ([], [])
    readers = [
        threading.Thread(target=_read, args=(pipe, parts), daemon=True) for pipe, parts in zip((process.stdout, process.stderr), kept)
    ]
    # Popen.wait with a limit only looks every 50 ms, which takes as long as a small kernel does to compile.
    waiter = threading.Thread(target=process.wait, daemon=True)
    try:
        for thread in (*readers, waiter):
            thread.start()
        waiter.join(limit)
        status = process.returncode
    finally:
        _end(process)
        for reader in readers:
            reader.join(PATIENCE)
    output, errors = (b"".join(parts).decode(errors="replace") for parts in kept)
    return Ended(status, output, errors)


def _read(pipe: IO[bytes], parts: list[bytes]) -> None:
    # What is too much is read and dropped: a full pipe would keep the command waiting.
    size = 0
    with pipe:
        while chunk := os.read(pipe.fileno(), CHUNK):
            if size < MOST_OUTPUT:
                parts.append(chunk)
            size += len(chunk)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started: first so that it can delete its files."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
