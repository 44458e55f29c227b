"""From a plan and its kernels to a shared library, through the build cache, and from there to a function."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as cache_once
from functools import partial
from pathlib import Path
from typing import TypeAlias

import tcomp.codegen
import tcomp.ir
from tcomp.codegen.c.kernel import COptions
from tcomp.codegen.c.program import KernelUnit, driver_source, kernel_units
from tcomp.codegen.c.toolchain import (
    DRIVER_FLAGS,
    SUPPORT,
    Compilation,
    Report,
    Toolchain,
    UnusableLibrary,
    check_library,
    compile_objects,
    link_library,
)
from tcomp.codegen.cache import BuildCache, hash_parts
from tcomp.ir.errors import BrokenCompiler, KernelFault, ToolchainError
from tcomp.ir.plan import Plan
from tcomp.ir.tile import Kernel

ASAN_START = b"__asan_init"
PRELOAD = (
    'LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0, '
    "or with clang's libclang_rt.asan if that compiles"
)

FAULTS = (
    (
        "computes something else on two threads than on one",
        "its instances write the same memory, or the compiler lets them: see KNOWN_FLAGS in codegen/c/toolchain.py",
    ),
    ("computes something that depends on what its results' memory held before", "it reads what it should write first"),
    ("writes to an argument that it only reads", "see which store of it leaves its own argument"),
)
"""What is wrong with a kernel and what to look at, in the order of the faults of `support/program_checked.h`."""

Fingerprint: TypeAlias = Callable[[], int]
"""A number that changes when memory is written, see `support/fingerprint.h`."""

RunFunction: TypeAlias = Callable[[object, object, object, int, int], int]
"""tcomp_run(externals, arena, symbols, threads, flush_denormals); pointers are ctypes arrays or addresses."""

PartFunction: TypeAlias = Callable[[object, object, object, int, int, int, int], int]
"""tcomp_run_part(externals, arena, symbols, threads, flush_denormals, first, last)."""

TimedFunction: TypeAlias = Callable[[object, object, object, int, int, object], int]
"""tcomp_run_timed(externals, arena, symbols, threads, flush_denormals, times); times hold a number more than there are steps."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """A source, what its object depends on, and the extra flags it is compiled with."""

    name: str
    source: str
    key: str
    flags: tuple[str, ...] = ()


def build_program(
    plan: Plan,
    kernels: Mapping[str, Kernel],
    *,
    toolchain: Toolchain,
    cache_directory: Path,
    checked: bool = False,
    jobs: int | None = None,
    report: Report | None = None,
) -> Path:
    """Build the shared library of a program, or find it in the cache; returns its path.

    One that is `checked` checks its kernels whenever it runs, see `support/program_checked.h`.

    Only kernels that the cache lacks are compiled, `jobs` at a time (by default one for each processor). A program that was built
    before is found by the text of its plan and tile programs, so that no C is printed for it. Raises ToolchainError.
    """
    options = COptions(toolchain.lanes)
    cache = BuildCache(cache_directory)
    texts = [f"{name} {kernel}" for name, kernel in kernels.items()]
    linking = (str(toolchain.has_openmp), *toolchain.link_flags)
    context = _context(toolchain)
    key = hash_parts("library", hash_generator(), context, *DRIVER_FLAGS, *linking, str(checked), str(plan), *texts)
    found = cache.find(key, ".so")
    if found is not None:
        return found
    compile_all = partial(compile_objects, toolchain, jobs=jobs, report=report)

    def print_units() -> Iterator[_Unit]:
        return _units(plan, kernels, context, options, checked=checked)

    try:
        built = _build(print_units, key, toolchain, cache, compile_all)
    except BrokenCompiler:
        raise
    except ToolchainError:
        # What a full disk does to a compiler has many forms.
        if not cache.is_full():
            raise
        built = _build(print_units, key, toolchain, cache, compile_all)
    cache.evict()
    return built


def build_source(name: str, source: str, *, toolchain: Toolchain, cache_directory: Path) -> Path:
    """Build a shared library of one C source, which defines `tcomp_run`, or find it in the cache; raises ToolchainError."""
    cache = BuildCache(cache_directory)
    linking = (str(toolchain.has_openmp), *toolchain.link_flags)
    unit = _Unit(name, source, hash_parts("object", _context(toolchain), source))
    key = hash_parts("source", *linking, unit.key)
    return cache.find(key, ".so") or _build(lambda: [unit], key, toolchain, cache, partial(compile_objects, toolchain))


CompileAll: TypeAlias = Callable[[Iterable[Compilation]], None]
PrintUnits: TypeAlias = Callable[[], Iterable[_Unit]]
"""Prints the sources of a program one after the other, so that compiling begins with the first."""


def _build(print_units: PrintUnits, key: str, toolchain: Toolchain, cache: BuildCache, compile_all: CompileAll) -> Path:
    """Compile what the cache lacks, link it, and keep it all once the library has been loaded in another process."""
    with cache.workspace() as folder:
        library = folder / "program.so"
        objects: dict[_Unit, Path] = {}
        try:
            _compile_and_link(print_units, objects, cache, toolchain, folder, compile_all)
            check_library(toolchain, library)
        except ToolchainError as error:
            if not isinstance(error, UnusableLibrary) and all(path.parent == folder for path in objects.values()):
                raise
            # An object that was kept may be as bad as its bytes were from the start; a linker may have been cut off.
            for unit in objects:
                cache.discard(unit.key, ".o")
            objects.clear()
            _compile_and_link(print_units, objects, cache, toolchain, folder, compile_all)
            check_library(toolchain, library)
        for unit, path in objects.items():
            if path.parent == folder:
                cache.add(unit.key, ".o", path)
        return cache.add(key, ".so", library)


def _compile_and_link(
    print_units: PrintUnits, objects: dict[_Unit, Path], cache: BuildCache, toolchain: Toolchain, folder: Path, compile_all: CompileAll
) -> None:
    """Make `program.so` in a folder; `objects` gets those that the cache has, and those that are compiled in the folder."""

    def list_missing() -> Iterator[Compilation]:
        for unit in print_units():
            source = folder / f"{unit.name}.c"
            objects[unit] = cache.find(unit.key, ".o") or source.with_suffix(".o")
            if objects[unit].parent == folder:
                source.write_text(unit.source)
                yield Compilation(source, objects[unit], unit.flags)

    compile_all(list_missing())
    link_library(toolchain, list(objects.values()), folder / "program.so")


def _context(toolchain: Toolchain) -> str:
    """A hash of what every object depends on beside its source."""
    # A folder may serve several machines, whose C libraries differ.
    system = (platform.machine(), *platform.libc_ver())
    return hash_parts(toolchain.identity, *toolchain.command, *toolchain.flags, hash_support(), *system)


def _units(plan: Plan, kernels: Mapping[str, Kernel], context: str, options: COptions, *, checked: bool) -> Iterator[_Unit]:
    """Every source of a program: its kernels, each once, and its driver."""
    found: dict[str, KernelUnit] = {}
    printed: set[str] = set()
    for name, unit in kernel_units(plan, kernels, options):
        found[name] = unit
        if unit.symbol not in printed:
            printed.add(unit.symbol)
            yield _Unit(unit.symbol, unit.source, hash_parts("object", context, unit.symbol, unit.content))
    driver = driver_source(plan, found, checked=checked)
    yield _Unit("driver", driver, hash_parts("object", context, *DRIVER_FLAGS, driver), DRIVER_FLAGS)


@cache_once
def hash_generator() -> str:
    """A hash of the code that turns tile programs into C."""
    return _hash_files(*list_generator())


def list_generator() -> list[Path]:
    """The sources in the two folders where the printers of C lie and all they import, however deep.

    What passes decide shows in the tile programs, and what is printed for Triton is found by its own text.
    """
    return [path for package in (tcomp.codegen, tcomp.ir) for path in sorted(Path(str(package.__file__)).parent.rglob("*.py"))]


def hash_support() -> str:
    """A hash of the headers that generated code includes."""
    return _hash_files(*sorted(SUPPORT.rglob("*.h")))


def _hash_files(*paths: Path) -> str:
    return hash_parts(*(part for path in paths for part in (path.name, path.read_text())))


def load_program(path: Path) -> RunFunction:
    """Load a program's library and return its `tcomp_run`; raises ToolchainError if it cannot be loaded.

    Of a program that checks its kernels the function raises KernelFault for one that fails.
    """
    with contextlib.suppress(OSError):
        # For a library that was linked without it. Where there is none, one thread does the work.
        ctypes.CDLL("libgomp.so.1", ctypes.RTLD_GLOBAL)
    _check_sanitizer(path)
    try:
        library = ctypes.CDLL(str(path))
        run = library.tcomp_run
    except (OSError, AttributeError) as error:
        raise ToolchainError(
            f"the compiled program {path.name} cannot be loaded",
            where=str(error),
            help="delete it from the cache folder; if it fails again, run `tcomp doctor`",
        ) from error
    run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    run.restype = ctypes.c_int
    return _report_faults(library) if hasattr(library, "tcomp_step_name") else run


def make_fingerprint(path: Path, memory: Sequence[tuple[int, int]]) -> Fingerprint:
    """A function of a program's library that tells whether memory is as it was: addresses and bytes, which have to stay valid."""
    # So short that handing the interpreter's lock over would take longer.
    function = ctypes.PyDLL(str(path)).tcomp_fingerprint
    function.restype = ctypes.c_uint64
    numbers = (len(memory), *(number for part in memory for number in part))
    # Called for each call of a program: one argument that needs no conversion.
    return partial(function, (ctypes.c_int64 * len(numbers))(*numbers))


def load_parts(path: Path) -> PartFunction | None:
    """A program's `tcomp_run_part`, which takes the numbers of its first step and of the one after its last; None if it has none.

    Programs that check their kernels have none. Raises as `load_program`, which is to be called first.
    """
    library = ctypes.CDLL(str(path))
    if not hasattr(library, "tcomp_run_part"):
        return None
    part = library.tcomp_run_part
    part.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
    part.restype = ctypes.c_int
    return part


def load_timed(path: Path) -> TimedFunction | None:
    """A program's `tcomp_run_timed`, which tells when each step began and the last one ended, in nanoseconds; None if it has none.

    Programs that check their kernels have none. Raises as `load_program`, which is to be called first.
    """
    library = ctypes.CDLL(str(path))
    if not hasattr(library, "tcomp_run_timed"):
        return None
    timed = library.tcomp_run_timed
    timed.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    timed.restype = ctypes.c_int
    return timed


def _check_sanitizer(path: Path) -> None:
    """The address sanitizer ends a process that loads it late; say so before it does."""
    if path.is_file() and ASAN_START in path.read_bytes() and not hasattr(ctypes.CDLL(None), ASAN_START.decode()):
        raise BrokenCompiler(
            f"the compiled program {path.name} is built with the address sanitizer, which has to be loaded before Python is",
            where="TCOMP_SANITIZE",
            help=f"start Python with {PRELOAD}",
        )


def _report_faults(library: ctypes.CDLL) -> RunFunction:
    library.tcomp_step_name.restype = ctypes.c_char_p

    def run(*arguments: object) -> int:
        result: int = library.tcomp_run(*arguments)
        if result >= 0:
            return result
        step, fault = divmod(-result, 4)
        what, help_ = FAULTS[fault - 1]
        raise KernelFault(f"a kernel {what}", where=f"step {step}, {library.tcomp_step_name(step).decode()}", help=help_)

    return run
