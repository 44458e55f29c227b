"""The C compiler: finding one, what it is, and running it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tcomp.codegen.c.limited import run_limited
from tcomp.codegen.temporary import hold_folder
from tcomp.ir.errors import BrokenCompiler, ToolchainError

SUPPORT = Path(__file__).resolve().parent / "support"
"""The folder of the headers that generated code includes."""

FLAGS = (
    "-std=gnu11", "-O3", "-march=native", "-fPIC", "-fvisibility=hidden", "-fwrapv",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
"""What every object is compiled with. Not -ffast-math: NaN, infinity and the order of additions keep their meaning."""

KNOWN_FLAGS = (
    # GCC's -O3 carries what it stores from one instance into a later one that overwrites it, and reads and writes back memory
    # around the instances of a call to do so, which is another thread's.
    "-fno-predictive-commoning",
    # GCC's default, unless CC says otherwise: a conditional store becomes no unconditional one, and none moves to where it might
    # not have happened. What else GCC does to stores (if-conversion, moving them out of loops, merging) asks for this flag.
    "-fno-allow-store-data-races",
    # GCC 12 makes vectors of straight-line code and then drops (double)(float)x for both of two elements, as if it rounded nothing.
    # What gains from vectors is printed as vectors.
    "-fno-tree-slp-vectorize",
)  # fmt: skip
"""What objects are compiled with by compilers that know it, so that no store to memory that an instance does not own is invented, and
no rounding is left out.

clang knows neither of the first two and does nothing of the kind: LLVM promotes to a register only what a loop is sure to store.
"""

SANITIZED_FLAGS = (
    "-fno-sanitize-recover=all", "-O1", "-fno-omit-frame-pointer", "-g1", "-Werror=uninitialized", "-Wno-maybe-uninitialized",
)  # fmt: skip
"""What objects are compiled with beside -fsanitize: a report ends the process and names the lines of C that it is about.

What a sanitizer does not see is a variable that is read before it is set; compilers then leave out what depends on it.
"""

SHARED_RUNTIME = "-shared-libsan"
"""For clang, which otherwise leaves a library's sanitizers to the program that loads it."""

DRIVER_FLAGS = ("-O1", "-w")
OPENMP = "-fopenmp"
"""Links GNU OpenMP where the compiler comes with it; nothing is compiled with it."""
LINES_SHOWN = 20
MOST_COLUMNS = 300
LIMIT = 300.0
"""Seconds that the compiler may take for one file, unless told otherwise."""
QUESTION = 1 / 60
"""The part of that time that it may take to say what it is."""
HELP = "install gcc or clang, set CC to a working C compiler, or `pip install ziglang`"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A C compiler that works. `identity` changes with its version and with the processor it compiles for."""

    command: tuple[str, ...]
    version: str
    identity: str
    lanes: int
    """f32 lanes of the widest vector registers the headers use: 16, 8 or 4."""
    has_openmp: bool
    """Whether it links GNU OpenMP. Without, programs use several threads only where something else has loaded that."""
    flags: tuple[str, ...]
    """What every object is compiled with."""
    link_flags: tuple[str, ...] = ()
    """What every library is linked with."""
    limit: float = LIMIT
    """Seconds that it may take for one file."""


Report: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, and how many steps of how many are done."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """One source to compile to one object file."""

    source: Path
    target: Path
    flags: tuple[str, ...] = ()


def find_toolchain(preferred: tuple[str, ...] = (), sanitizers: tuple[str, ...] = (), limit: float = LIMIT) -> Toolchain:
    """Find a C compiler: the preferred command, or else cc, gcc, clang or the ziglang package's.

    With `sanitizers`, as in -fsanitize, everything is compiled with these. A file that takes longer than `limit` seconds is an error.
    Raises ToolchainError if the preferred one does not work, or if there is none.
    """
    if preferred:
        return _probe(preferred, sanitizers, limit)
    failures: list[str] = []
    for command in (("cc",), ("gcc",), ("clang",), (sys.executable, "-m", "ziglang", "cc")):
        if shutil.which(command[0]) is None:
            failures.append(f"{command[0]}: not found")
            continue
        try:
            return _probe(command, sanitizers, limit)
        except ToolchainError as error:
            failures.append(f"{' '.join(command)}: {error.where.splitlines()[-1] if error.where else error.what}")
    raise ToolchainError("no C compiler was found", where="\n".join(failures), help=HELP)


def _probe(command: tuple[str, ...], sanitizers: tuple[str, ...], limit: float) -> Toolchain:
    """Ask a compiler for its macros, which tell its version and the instructions it will use."""
    sanitize = (f"-fsanitize={','.join(sanitizers)}",) if sanitizers else ()
    flags = (*FLAGS, *sanitize, *(SANITIZED_FLAGS if sanitizers else ()))
    known: tuple[str, ...] = KNOWN_FLAGS
    short = limit * QUESTION
    try:
        macros = _read_macros(command, (*flags, *known), short)
    except BrokenCompiler:
        raise
    except ToolchainError:
        macros = _read_macros(command, flags, short)
        known = tuple(flag for flag in known if _knows(command, flag, short))
    defined = dict(line.split(" ", 2)[1:] for line in macros.splitlines() if line.count(" ") >= 2)
    wide = all(f"__AVX512{part}__" in defined for part in ("F", "BW", "DQ", "VL"))
    return Toolchain(
        command,
        defined.get("__VERSION__", "unknown").strip('"'),
        hashlib.sha256(macros.encode()).hexdigest(),
        16 if wide else 8 if "__AVX2__" in defined else 4,
        _has_openmp(command, short),
        (*flags, *known),
        (*sanitize, *((SHARED_RUNTIME,) if sanitizers and _knows(command, SHARED_RUNTIME, short) else ())),
        limit,
    )


def _read_macros(command: tuple[str, ...], flags: tuple[str, ...], limit: float) -> str:
    said = _run((*command, *flags, "-dM", "-E", "-x", "c", "-"), "the C compiler does not work", limit)
    if "#define __VERSION__ " not in said:
        where = "\n".join([" ".join(command), *_show(said)])
        raise BrokenCompiler("the C compiler does not work: it does not say which macros it defines", where=where, help=HELP)
    return said


def _knows(command: tuple[str, ...], flag: str, limit: float) -> bool:
    try:
        _read_macros(command, ("-Werror", flag), limit)
    except BrokenCompiler:
        raise
    except ToolchainError:
        return False
    return True


def _has_openmp(command: tuple[str, ...], limit: float) -> bool:
    with hold_folder(Path(tempfile.gettempdir()), "tcomp-probe-") as folder:
        source, program = folder / "probe.c", folder / "probe"
        source.write_text("extern void GOMP_barrier(void);\nint main(void) { GOMP_barrier(); }\n")
        try:
            _run((*command, OPENMP, str(source), "-o", str(program)), "the C compiler does not work", limit)
        except BrokenCompiler:
            raise
        except ToolchainError:
            return False
        return program.is_file()


def compile_objects(
    toolchain: Toolchain, compilations: Iterable[Compilation], jobs: int | None = None, report: Report | None = None
) -> None:
    """Compile sources to objects, several at a time and each as soon as it comes; raises ToolchainError at the first that fails."""

    def compile_one(compilation: Compilation) -> None:
        arguments = (*toolchain.flags, *compilation.flags, "-I", str(SUPPORT), "-c", str(compilation.source), "-o", str(compilation.target))
        failure = f"the C compiler failed on {compilation.source.name}"
        _build((*toolchain.command, *arguments), failure, toolchain.limit, compilation.target)

    with ThreadPoolExecutor(max_workers=jobs or count_processors()) as pool:
        try:
            started = [pool.submit(compile_one, compilation) for compilation in compilations]
            for number, done in enumerate(started, 1):
                done.result()
                if report is not None:
                    report("compiled kernels", number, len(started))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def link_library(toolchain: Toolchain, objects: Sequence[Path], target: Path) -> None:
    """Link objects into a shared library; raises ToolchainError."""
    flags = (*toolchain.link_flags, *((OPENMP,) if toolchain.has_openmp else ()))
    # A command line holds only so much; a response file holds any number of objects.
    listing = target.with_suffix(".rsp")
    listing.write_text("\n".join(_quote(path) for path in objects))
    _build((*toolchain.command, "-shared", *flags, f"@{listing}", "-o", str(target), "-lm"), "the linker failed", toolchain.limit, target)


class UnusableLibrary(BrokenCompiler):
    """What was linked cannot be loaded."""


def check_library(toolchain: Toolchain, library: Path) -> None:
    """Load a library in another process, which may crash, and run the least of it; raises UnusableLibrary if that fails."""
    if any("-fsanitize" in flag for flag in toolchain.link_flags):
        return  # it loads only into a process that was started with the sanitizer
    command = (sys.executable, "-I", "-S", "-c", TRIAL, str(library))
    try:
        done = run_limited(command, toolchain.limit)
    except OSError as error:
        raise ToolchainError("no process could be started to try a library in", where=str(error), help="run `tcomp doctor`") from error
    if done.status:
        how = f"status {done.status}" if done.status > 0 else signal.strsignal(-done.status) or f"signal {-done.status}"
        where = "\n".join([" ".join((*toolchain.command, "-shared")), *_show(done.errors)[-LINES_SHOWN:]])
        raise UnusableLibrary(f"what the linker built cannot be loaded ({how})", where=where, help=HELP)
    if done.status is None:
        raise UnusableLibrary(f"what the linker built was not loaded within {toolchain.limit:g} seconds", where=str(library), help=HELP)


TRIAL = """
import ctypes, os, sys
try:
    ctypes.CDLL("libgomp.so.1", ctypes.RTLD_GLOBAL)
except OSError:
    pass
library = ctypes.CDLL(sys.argv[1], os.RTLD_NOW)
library.tcomp_run
if hasattr(library, "tcomp_fingerprint"):
    library.tcomp_fingerprint((ctypes.c_int64 * 1)(0))
"""
"""The least that a library of ours has to do: `tcomp_run` is there, and what has no memory has a fingerprint."""


def _quote(path: Path) -> str:
    return '"{}"'.format(str(path).replace("\\", "\\\\").replace('"', '\\"'))


def count_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build(command: tuple[str, ...], failure: str, limit: float, target: Path) -> None:
    said = _run(command, failure, limit)
    if not target.is_file() or not target.stat().st_size:
        raise BrokenCompiler(f"{failure}: it wrote no {target.name}", where="\n".join([" ".join(command), *_show(said)]), help=HELP)


def _run(command: tuple[str, ...], failure: str, limit: float) -> str:
    """Run the compiler with an empty input; its standard output, or a ToolchainError with what it said."""
    try:
        done = run_limited(command, limit)
    except OSError as error:
        raise ToolchainError(f"{failure}: it cannot be run", where=f"{' '.join(command)}\n{error}", help=HELP) from error
    if done.status == 0:
        return done.output
    where = "\n".join([" ".join(command), *_show(done.errors)])
    if done.status is None:
        help_ = f"{HELP}; if it only needs longer, TCOMP_COMPILER_SECONDS is its time limit"
        raise BrokenCompiler(f"{failure}: it did not end within {limit:g} seconds", where=where, help=help_)
    if done.status < 0:
        name = signal.strsignal(-done.status) or f"signal {-done.status}"
        raise BrokenCompiler(f"{failure}: it was ended by a signal ({name})", where=where, help=f"is there memory enough? Or {HELP}")
    raise ToolchainError(f"{failure} (status {done.status})", where=where, help=HELP)


def _show(said: str) -> list[str]:
    lines = [re.sub(r"[^\t -~\u00a0-\uffff]", "?", line[:MOST_COLUMNS]) for line in said.strip().splitlines()]
    return lines[:LINES_SHOWN] + ([f"... and {len(lines) - LINES_SHOWN} more lines"] if len(lines) > LINES_SHOWN else [])
