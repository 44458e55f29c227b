"""Run compiled C programs in a child process, which may crash or never end: here that is an error, or a time without end.

The child is a Python of its own that imports this module, not a copy of this process: threads of OpenMP do not outlive a fork. It is
started when it is first needed, serves one request after another, and is ended when one takes too long.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import IO, Any

import numpy

from tcomp.codegen.c.run import Call, Draw, check_buffer, draw_buffer, reach_of, run_call, time_calls
from tcomp.codegen.timing import TIMING, Timing
from tcomp.ir.errors import KernelFault, TcompError, ToolchainError
from tcomp.ir.evaluate.arrays import Array

LIMIT = 60.0
"""Seconds that a request may take."""

START = 60.0
"""Seconds that a child may take to start: it imports numpy, on a machine that may be busy."""

LINES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a call returned, and the bytes of the buffers it may have written."""

    fault: int
    written: dict[str, Array]


@dataclass(frozen=True, slots=True)
class _Run:
    """A request to run a call on buffers by name, given as bytes."""

    call: Call
    buffers: dict[str, Array]

    def perform(self) -> _Ran:
        fault = run_call(self.call, self.buffers)
        return _Ran(fault, {e.name: self.buffers[e.name] for e in self.call.externals if e.is_written})


@dataclass(frozen=True, slots=True)
class _Time:
    """A request to time calls in turns on made-up data: seconds of each."""

    calls: tuple[Call, ...]
    draws: tuple[tuple[Draw, ...], ...]
    timing: Timing

    def perform(self) -> list[float]:
        # Candidates run on the same memory, as far as they take the same.
        made: dict[tuple[int, Draw], Array] = {}
        buffers: list[dict[str, Array]] = []
        for call, draws in zip(self.calls, self.draws, strict=True):
            for place, draw in enumerate(draws):
                if (place, draw) not in made:
                    made[place, draw] = draw_buffer(draw)
            buffers.append({e.name: made[place, draw] for place, (e, draw) in enumerate(zip(call.externals, draws, strict=True))})
        return time_calls(self.calls, buffers, self.timing)


class Child:
    """A process that runs programs for this one, a request at a time. Not for several threads at once."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self._process: _Process | None = None

    def run(self, call: Call, buffers: Mapping[str, Array]) -> int:
        """Run a program on copies of buffers, and copy back what it may write; returns and raises as `tcomp.codegen.c.run.run_call`.

        Raises KernelFault as well for a program that ends its process or takes longer than the limit, and leaves buffers as they were then;
        ToolchainError if no process can be started.
        """
        given = {e.name: check_buffer(e, buffers) for e in call.externals}
        request = _Run(call, {name: _bytes_of(array).copy() for name, array in given.items()})
        ran: _Ran = self._ask(request, (call,))
        for name, data in ran.written.items():
            _bytes_of(given[name])[...] = data
        return ran.fault

    def time(self, calls: Sequence[Call], draws: Sequence[Sequence[Draw]], timing: Timing = TIMING) -> list[float]:
        """Seconds that each of several calls takes, in turns, on data made up for its externals, in order.

        Raises KernelFault if any of them ends the process, or if all take longer than the limit together; ToolchainError if
        no process can be started; and as `run_call`.
        """
        times: list[float] = self._ask(_Time(tuple(calls), tuple(map(tuple, draws)), timing), calls)
        return times

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _ask(self, request: _Run | _Time, calls: Sequence[Call]) -> Any:
        """What the request's `perform` returns in the child; raises what it raises there."""
        where = ", ".join(dict.fromkeys(call.library.name for call in calls))
        if self._process is None:
            self._process = _Process()
        connection = self._process.connection
        try:
            connection.send(request)
            if not connection.poll(self.limit):
                self.close()
                raise KernelFault(
                    f"compiled kernels ran for more than {self.limit:g} seconds",
                    where=where,
                    help="a loop of theirs does not end, or the limit is too low for their sizes",
                )
            answer = connection.recv()
        except (EOFError, OSError) as error:
            said = self._process.read_end()
            self._process = None
            raise KernelFault(
                f"compiled kernels ended their process ({said.splitlines()[0]})",
                where="\n".join([where, *said.splitlines()[1:]]),
                help="they reach outside their memory: TCOMP_SANITIZE=address and TCOMP_CHECK_KERNELS=1 tell where (docs/options.md)",
            ) from error
        if isinstance(answer, TcompError):
            raise answer
        return answer


class _Process:
    """A child that runs, and the connection to it."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed with the process)
        code = f"import sys; sys.path[:] = {sys.path!r}; from tcomp.codegen.c.child import serve; serve({theirs.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        # A child outlives no one who could ask it.
        self.end = weakref.finalize(self, _end, self._process, self.connection, self._errors)
        try:
            is_ready = self.connection.poll(START) and self.connection.recv() == READY
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            said = self.read_end()
            raise ToolchainError(
                "no process could be started to run compiled kernels in",
                where=said,
                help=f"see whether {sys.executable} imports numpy, and how many processes this machine has left",
            )

    def read_end(self) -> str:
        """How the process ended, and under that the last it said; it is ended if it runs."""
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-LINES_SHOWN:]
        self.end()
        return "\n".join([signal.strsignal(-status) or f"signal {-status}" if status < 0 else f"status {status}", *lines])


READY = "ready"


def _end(process: subprocess.Popen[bytes], connection: Connection, errors: IO[bytes]) -> None:
    connection.close()
    process.kill()
    process.wait()
    errors.close()


def serve(file: int) -> None:
    """Answer requests that come over a connection, given by its file descriptor, until it is closed."""
    connection = Connection(file)
    connection.send(READY)
    while True:
        try:
            request: _Run | _Time = connection.recv()
        except EOFError:
            return
        answer: object
        try:
            answer = request.perform()
        except TcompError as error:
            answer = error
        connection.send(answer)


def _bytes_of(array: Array) -> Array:
    """The bytes that an array reaches over, gaps between its elements included."""
    size = reach_of(array)
    if not size:
        return numpy.empty(0, numpy.uint8)
    memory = (ctypes.c_uint8 * size).from_address(array.ctypes.data)
    return numpy.frombuffer(memoryview(memory), numpy.uint8)
