"""A worker as its campaign sees it: a process that is given jobs, and that may crash, hang or run out of memory."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from tcomp.fuzz.campaign.protocol import Answer, Job, read_answer, write_line
from tcomp.fuzz.finding import Finding
from tcomp.fuzz.layers.table import LAYERS, TCOMP, find_layers
from tcomp.settings import override_environment, read_settings

START = 300.0
"""Seconds that a worker may take to start: it imports PyTorch's neighbours, on a machine that may be busy."""
LINES_SHOWN = 20


class WorkerError(Exception):
    """A worker could not be started: nothing is wrong with a seed, but with the machine or the installation."""


def sanitize(sanitizers: str, megabytes: int) -> dict[str, str]:
    """The environment of a process whose C is compiled with sanitizers and checks its kernels. Raises WorkerError."""
    compiler = shlex.join(read_settings().compiler or ("cc",))
    # Exceptions of C++ need their library loaded before the sanitizer looks for it. The compiler itself is better off without.
    try:
        libraries = [
            subprocess.run([*shlex.split(compiler), f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
            for name in ("libasan.so", "libstdc++.so")
        ]
    except (OSError, subprocess.CalledProcessError) as error:
        raise WorkerError(f"{compiler} cannot be asked for its sanitizers: {error}") from error
    if not all(os.path.isabs(path) for path in libraries):
        raise WorkerError(f"{compiler} has no sanitizers: there is no libasan.so beside it")
    return {
        "TCOMP_SANITIZE": sanitizers,
        "TCOMP_CHECK_KERNELS": "1",
        "CC": f"env -u LD_PRELOAD {compiler}",
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": f"detect_leaks=0:hard_rss_limit_mb={megabytes}",
    }


class Worker:
    """A worker process; it is started again when it has died.

    It examines seeds of some layers; of programs, a compiler by its name; what it imports as `tcomp` lies in `tree`, or is this one.
    With `sanitizers`, as in -fsanitize, the C of seeds is compiled with these and checks its kernels; what they report is a crash.
    """

    def __init__(
        self,
        seconds: float,
        megabytes: int,
        plant: str = "",
        names: tuple[str, ...] = tuple(LAYERS),
        compiler: str = TCOMP,
        tree: Path | None = None,
        sanitizers: str = "",
    ) -> None:
        self.seconds, self.megabytes, self.plant = seconds, megabytes, plant
        self.layers = find_layers(names, compiler)
        self._asked, self._tree, self._sanitizers = [f"--layers={','.join(names)}", f"--compiler={compiler}"], tree, sanitizers
        self.names: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        self._rest = b""

    def ask(self, job: Job) -> Answer:
        """What comes of a job; if the worker dies of it or does not end, a finding that says so. Raises WorkerError."""
        process = self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(write_line(job).encode())
            process.stdin.flush()
        except BrokenPipeError:
            return self._bury(job.text)
        begun = self._read(self.seconds)
        if begun is None:
            return self._bury(job.text)
        answer = read_answer(begun)
        if answer.invalid:
            return answer
        ended = self._read(self.seconds)
        return self._bury(answer.text) if ended is None else read_answer(ended)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            self._process, self._rest = None, b""

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            return self._process
        self._said.seek(0)
        self._said.truncate()
        command = [sys.executable, "-m", "tcomp.fuzz.campaign.worker", *self._asked]
        # Sanitizers reserve more memory than any limit allows, and have one of their own.
        command += [] if self._sanitizers else ["--megabytes", str(self.megabytes)]
        command += ["--plant", self.plant] if self.plant else []
        settings = {} if self._tree is None else {"PYTHONPATH": str(self._tree)}
        settings |= sanitize(self._sanitizers, self.megabytes) if self._sanitizers else {}
        with override_environment(settings):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True, cwd=self._tree
            )
        first = self._read(START)
        if first is None:
            said = self._tail()
            self.close()
            raise WorkerError(f"a worker could not be started: {said or 'it said nothing'}")
        self.names = tuple(json.loads(first)["names"])
        return self._process

    def _read(self, seconds: float) -> str | None:
        """A line of the worker, or None if it ended or took too long."""
        assert self._process is not None and self._process.stdout is not None
        handle, deadline = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                return None
            chunk = os.read(handle, 1 << 20)
            if not chunk:
                return None
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def _bury(self, text: str) -> Answer:
        """The answer that a dead or hanging worker would have given."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        code = self._process.returncode
        said = self._tail()
        self.close()
        if code is None:
            return Answer(text, Finding("hang", "worker", f"it took more than {self.seconds:.0f} s"), seconds=self.seconds)
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        first = next((line.strip() for line in said.splitlines() if "ERROR:" in line or "Error" in line or "runtime error:" in line), "")
        return Answer(text, Finding("crash", how, first or "the process died", said))

    def _tail(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LINES_SHOWN:])
