"""The C compiler: finding one, what it is, and running it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tcomp.ir.errors import ToolchainError

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

SANITIZED_FLAGS = ("-fno-sanitize-recover=all", "-O1", "-fno-omit-frame-pointer", "-g1")
"""What objects are compiled with beside -fsanitize: a report ends the process and names the lines of C that it is about."""

SHARED_RUNTIME = "-shared-libsan"
"""For clang, which otherwise leaves a library's sanitizers to the program that loads it."""

DRIVER_FLAGS = ("-O1", "-w")
OPENMP = "-fopenmp"
"""Links GNU OpenMP where the compiler comes with it; nothing is compiled with it."""
LINES_SHOWN = 20
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


@dataclass(frozen=True, slots=True)
class Compilation:
    """One source to compile to one object file."""

    source: Path
    target: Path
    flags: tuple[str, ...] = ()


def find_toolchain(preferred: tuple[str, ...] = (), sanitizers: tuple[str, ...] = ()) -> Toolchain:
    """Find a C compiler: the preferred command, or else cc, gcc, clang or the ziglang package's.

    With `sanitizers`, as in -fsanitize, everything is compiled with these. Raises ToolchainError if the preferred one does not work,
    or if there is none.
    """
    if preferred:
        return _probe(preferred, sanitizers)
    failures: list[str] = []
    for command in (("cc",), ("gcc",), ("clang",), (sys.executable, "-m", "ziglang", "cc")):
        if shutil.which(command[0]) is None:
            failures.append(f"{command[0]}: not found")
            continue
        try:
            return _probe(command, sanitizers)
        except ToolchainError as error:
            failures.append(f"{' '.join(command)}: {error.where.splitlines()[-1] if error.where else error.what}")
    raise ToolchainError("no C compiler was found", where="\n".join(failures), help=HELP)


def _probe(command: tuple[str, ...], sanitizers: tuple[str, ...]) -> Toolchain:
    """Ask a compiler for its macros, which tell its version and the instructions it will use."""
    sanitize = (f"-fsanitize={','.join(sanitizers)}",) if sanitizers else ()
    flags = (*FLAGS, *sanitize, *(SANITIZED_FLAGS if sanitizers else ()))
    known: tuple[str, ...] = KNOWN_FLAGS
    try:
        macros = _read_macros(command, (*flags, *known))
    except ToolchainError:
        macros = _read_macros(command, flags)
        known = tuple(flag for flag in known if _knows(command, flag))
    defined = dict(line.split(" ", 2)[1:] for line in macros.splitlines() if line.count(" ") >= 2)
    wide = all(f"__AVX512{part}__" in defined for part in ("F", "BW", "DQ", "VL"))
    return Toolchain(
        command,
        defined.get("__VERSION__", "unknown").strip('"'),
        hashlib.sha256(macros.encode()).hexdigest(),
        16 if wide else 8 if "__AVX2__" in defined else 4,
        _has_openmp(command),
        (*flags, *known),
        (*sanitize, *((SHARED_RUNTIME,) if sanitizers and _knows(command, SHARED_RUNTIME) else ())),
    )


def _read_macros(command: tuple[str, ...], flags: tuple[str, ...]) -> str:
    return _run((*command, *flags, "-dM", "-E", "-x", "c", "-"), "the C compiler does not work", stdin="")


def _knows(command: tuple[str, ...], flag: str) -> bool:
    try:
        _read_macros(command, ("-Werror", flag))
    except ToolchainError:
        return False
    return True


def _has_openmp(command: tuple[str, ...]) -> bool:
    source = "extern void GOMP_barrier(void);\nint main(void) { GOMP_barrier(); }\n"
    with tempfile.TemporaryDirectory() as folder:
        arguments = (*command, OPENMP, "-x", "c", "-", "-o", os.path.join(folder, "probe"))
        return subprocess.run(arguments, input=source, capture_output=True, text=True, check=False).returncode == 0


def compile_objects(toolchain: Toolchain, compilations: Sequence[Compilation], jobs: int | None = None) -> None:
    """Compile sources to objects, several at a time; raises ToolchainError at the first that fails."""

    def compile_one(compilation: Compilation) -> None:
        arguments = (*toolchain.flags, *compilation.flags, "-I", str(SUPPORT), "-c", str(compilation.source), "-o", str(compilation.target))
        _run((*toolchain.command, *arguments), f"the C compiler failed on {compilation.source.name}")

    with ThreadPoolExecutor(max_workers=jobs or count_processors()) as pool:
        for done in [pool.submit(compile_one, compilation) for compilation in compilations]:
            done.result()


def link_library(toolchain: Toolchain, objects: Sequence[Path], target: Path) -> None:
    """Link objects into a shared library; raises ToolchainError."""
    flags = (*toolchain.link_flags, *((OPENMP,) if toolchain.has_openmp else ()))
    with tempfile.NamedTemporaryFile("w", suffix=".rsp") as listing:
        # A command line holds only so much; a response file holds any number of objects.
        listing.write("\n".join(f'"{path}"' for path in objects))
        listing.flush()
        _run((*toolchain.command, "-shared", *flags, f"@{listing.name}", "-o", str(target), "-lm"), "the linker failed")


def count_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(command: tuple[str, ...], failure: str, stdin: str | None = None) -> str:
    """Run the compiler; its standard output, or a ToolchainError with what it said."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"{failure}: it cannot be run", where=f"{' '.join(command)}\n{error}", help=HELP) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        shown = said[:LINES_SHOWN] + ([f"... and {len(said) - LINES_SHOWN} more lines"] if len(said) > LINES_SHOWN else [])
        where = "\n".join([" ".join(command), *shown])
        raise ToolchainError(f"{failure} (status {done.returncode})", where=where, help=HELP)
    return done.stdout
