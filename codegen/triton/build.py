"""Triton functions to machine code, what that uses, and how it is called; one of the files that import Triton.

Triton keeps what it compiled in a cache of its own, which is pointed at a folder inside ours while it works: ours belongs to the
user alone. The knob for that, and the functions of triton.language that the interpreter exchanges while it runs, belong to the whole
process; so compiling and interpreting take turns, by `TRITON_LOCK`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tcomp.codegen.cache import BuildCache
from tcomp.codegen.triton.files import WARP, Resources, build_module
from tcomp.codegen.triton.kernel import TritonUnit
from tcomp.ir.errors import ToolchainError
from tcomp.ir.target import Gpu

__all__ = [
    "TRITON_LOCK",
    "Compilation",
    "Launcher",
    "Resources",
    "build_module",
    "compile_all",
    "compile_function",
    "find_tensor_cores",
    "make_launchers",
    "read_resources",
]

TRITON_LOCK = threading.RLock()
"""Held while Triton compiles or interprets."""
_FRONT_END = threading.Lock()
FAULTS = "faults"
"""The parameter for what is found outside its range; it may point into the middle of an array."""
ALIGNMENT = 16
"""Bytes: where a pointer is known to be divisible by this, loads are as wide as they can be."""
CACHE_LIMIT = 4 * 2**30

Compilation: TypeAlias = tuple[Any, TritonUnit, frozenset[str]]
"""A function of Triton's, its unit, and the names of parameters whose pointers may be unaligned."""
Launcher: TypeAlias = Callable[[int, int, Sequence[int]], None]
"""Starts a kernel: (instances, stream, arguments), which are addresses and integers."""


def compile_function(
    function: Any, unit: TritonUnit, target: Gpu, cache_directory: Path, unaligned: Collection[str] = ()
) -> Any:
    """Compile a function from `load_functions(..., "jit")`; returns Triton's CompiledKernel. Needs no GPU.

    Pointers are taken to be divisible by 16, those of the parameters in `unaligned` excepted. Raises ToolchainError.
    """
    with TRITON_LOCK, _private_cache(cache_directory):
        return _compile(function, unit, target, unaligned)


def compile_all(
    compilations: Sequence[Compilation],
    target: Gpu,
    cache_directory: Path,
    report: Callable[[str, int, int], None],
    jobs: int | None = None,
) -> list[Any | ToolchainError]:
    """Compile several functions, `jobs` at a time (by default one for each processor); of one that does not compile the error.

    `report` is told the name of each that is done, and how many of how many are.
    """
    if not compilations:
        return []
    with TRITON_LOCK, _private_cache(cache_directory), ThreadPoolExecutor(jobs or _count_processors()) as pool:
        futures = [pool.submit(_try_compile, function, unit, target, unaligned) for function, unit, unaligned in compilations]
        names = {future: unit.kernel.name for future, (_, unit, _) in zip(futures, compilations)}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                report(names[future], number, len(futures))
        finally:
            # After Ctrl-C nobody waits for those that have not begun.
            pool.shutdown(wait=True, cancel_futures=True)
        return [future.result() for future in futures]


def _try_compile(function: Any, unit: TritonUnit, target: Gpu, unaligned: Collection[str]) -> Any | ToolchainError:
    try:
        return _compile(function, unit, target, unaligned)
    except ToolchainError as error:
        return error


class _Source(ASTSource):  # type: ignore[misc]  # Triton has no types
    """A source whose Python is read by one thread at a time: `ast.parse` in two at once fails in some versions of Python.

    It would not be faster, since it holds the interpreter's lock. What takes the time does not.
    """

    def hash(self) -> str:
        """What Triton's cache knows the source by."""
        with _FRONT_END:
            return str(super().hash())

    def make_ir(self, *arguments: Any, **options: Any) -> Any:
        """Turn Python into Triton's intermediate form."""
        with _FRONT_END:
            return super().make_ir(*arguments, **options)


def _compile(function: Any, unit: TritonUnit, target: Gpu, unaligned: Collection[str]) -> Any:
    signature = {parameter.name: parameter.type for parameter in unit.parameters}
    attributes = {
        (position,): [["tt.divisibility", ALIGNMENT]]
        for position, parameter in enumerate(unit.parameters)
        if parameter.type.startswith("*") and parameter.name not in unaligned and parameter.name != FAULTS
    }
    source = _Source(fn=function, signature=signature, constexprs={}, attrs=attributes)
    # Multiplying and adding in one step is what C kernels do as well; Triton's default depends on its version.
    options = {"num_warps": unit.kernel.warps, "num_stages": unit.kernel.stages, "enable_fp_fusion": True}
    try:
        return triton.compile(source, target=GPUTarget("cuda", target.architecture, WARP), options=options)
    except Exception as error:
        raise ToolchainError(
            f"Triton does not compile the kernel {unit.kernel.name} for sm_{target.architecture}",
            where=f"{type(error).__name__}: {str(error).strip()[-2000:]}",
            help="run `tcomp doctor`; if that finds nothing, this is a fault of tcomp: please report it",
        ) from error


@contextmanager
def _private_cache(cache_directory: Path) -> Iterator[None]:
    folder = BuildCache(cache_directory / "triton").open()
    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = str(folder)
        yield
    _evict(folder)


def _evict(folder: Path, limit: int = CACHE_LIMIT) -> None:
    """Delete the oldest entries of Triton's cache, each a folder, until the rest fits in the limit."""
    entries: list[tuple[float, int, Path]] = []
    for entry in folder.iterdir():
        try:
            files = [file.stat() for file in entry.iterdir() if file.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        entries.append((max((file.st_mtime for file in files), default=0.0), sum(file.st_size for file in files), entry))
    total = sum(size for _, size, _ in entries)
    for _, size, entry in sorted(entries):
        if total <= limit:
            break
        shutil.rmtree(entry, ignore_errors=True)
        total -= size


def _count_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_launchers(
    compiled: Sequence[Any], cache_directory: Path, on_device: Callable[[], AbstractContextManager[object]], jobs: int | None = None
) -> list[Launcher]:
    """Load compiled kernels onto a GPU, several at a time; returns functions that start them.

    `on_device` makes that GPU the current one, here in each thread that loads, and by the caller at every start. Some versions of
    Triton build a little C for every list of parameter types; it goes to the same cache. Raises ToolchainError.
    """

    def load(kernel: Any) -> Launcher:
        with on_device():
            return _load(kernel)

    with TRITON_LOCK, _private_cache(cache_directory), ThreadPoolExecutor(jobs or _count_processors()) as pool:
        with on_device():
            # Threads that are the first to ask for the driver would each build its support.
            triton.runtime.driver.active.get_current_device()
        return list(pool.map(load, compiled))


def _load(kernel: Any) -> Launcher:
    def launch(instances: int, stream: int, arguments: Sequence[int]) -> None:
        kernel[(instances, 1, 1)](*arguments, stream=stream)

    try:
        kernel._init_handles()
    except Exception as error:
        # The driver and Triton each have errors of their own for a kernel that asks for too much.
        raise ToolchainError(
            f"the kernel {kernel.metadata.name} cannot be loaded onto the GPU",
            where=f"{type(error).__name__}: {error}",
            help="run `tcomp doctor`; if that finds nothing, this is a fault of tcomp: please report it",
        ) from error
    return launch


def read_resources(compiled: Any, target: Gpu) -> Resources:
    """What a compiled kernel uses, as the assembler or the driver reports it. Raises ToolchainError where neither tells."""
    cubin: bytes = compiled.asm["cubin"]
    registers, spilled = _ask_cuobjdump(cubin) or _ask_driver(compiled, target)
    shared = int(compiled.metadata.shared)
    return Resources(registers, spilled, shared, find_tensor_cores(compiled.asm["ptx"]), len(cubin))


def _ask_cuobjdump(cubin: bytes) -> tuple[int, int] | None:
    """Registers, and bytes of local memory, which has what was spilled; None without the tool, which comes with Triton."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        try:
            tool = triton.knobs.nvidia.cuobjdump.path
            command = (tool, "-res-usage", file.name)
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, RuntimeError, subprocess.SubprocessError):
            return None
    numbers = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", said))
    if "REG" not in numbers:
        return None
    return int(numbers["REG"]), int(numbers.get("STACK", 0)) + int(numbers.get("LOCAL", 0))


def _ask_driver(compiled: Any, target: Gpu) -> tuple[int, int]:
    """The same of a kernel that has been loaded onto a GPU."""
    if compiled.module is None:
        raise ToolchainError(
            f"nothing tells what the kernel {compiled.metadata.name} uses on sm_{target.architecture}",
            where="cuobjdump -res-usage",
            help="install Triton again: it brings cuobjdump along",
        )
    # The driver counts words of four bytes.
    return int(compiled.n_regs), 4 * int(compiled.n_spills)


def find_tensor_cores(ptx: str) -> Literal["", "mma", "wgmma", "tcgen05"]:
    """The newest instructions for tensor cores in an assembly text."""
    if "tcgen05.mma" in ptx:
        return "tcgen05"
    if "wgmma.mma_async" in ptx:
        return "wgmma"
    return "mma" if re.search(r"\bmma\.sync", ptx) else ""
