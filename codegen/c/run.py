"""Run compiled C programs on numpy buffers in this process, and time them. `tcomp.codegen.c.child` does so in a process of its own.

A *buffer* is an array that begins where the tensor does: its first element is the tensor's, and from there it reaches over at least the
tensor's bytes. `make_buffer` makes one with the strides of a kernel's argument. What the array's type and shape are is not looked at,
so that bytes will do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from tcomp.codegen.c.build import load_program
from tcomp.codegen.launch import ALIGNMENT, instances
from tcomp.codegen.timing import TIMING, Timing, time_in_turns
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import Array, memory_type
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.plan import ARENA, Plan
from tcomp.ir.tile import Argument, Kernel, span_elements

DRAWN = 1 << 16
"""Random numbers that are drawn; a longer buffer repeats them."""


@dataclass(frozen=True, slots=True)
class External:
    """The memory of a tensor that a program is given: so many bytes, which it may write."""

    name: str
    bytes: int
    is_written: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a compiled program with its sizes known: all that `tcomp_run` is given but addresses."""

    library: Path
    externals: tuple[External, ...]
    arena: int
    """Bytes."""
    symbols: tuple[int, ...] = ()
    threads: int = 1
    flush_denormals: bool = False


@dataclass(frozen=True, slots=True)
class Draw:
    """Made-up data for a tensor: floats around zero, and zeros of any other type, which as indices are right anywhere."""

    dtype: str
    elements: int


def make_call(
    library: Path,
    plan: Plan,
    kernels: Mapping[str, Kernel],
    symbols: Mapping[str, int] | None = None,
    *,
    threads: int = 1,
    flush_denormals: bool = False,
) -> Call:
    """A call of the library that was built of a plan and its kernels, for these values of the plan's symbols.

    It takes no more threads than some kernel has instances, as a program's runs do. Raises VerifyError for a symbol without a value.
    """
    sizes = dict(symbols or {})
    missing = [symbol.name for symbol in plan.symbols if symbol.name not in sizes]
    if missing:
        raise VerifyError(
            f"the symbol {missing[0]} has no value", where=f"a call of {library.name}", help=f"pass symbols={{{missing[0]!r}: ...}}"
        )
    needed = dict.fromkeys(plan.externals, 0)
    written: set[str] = set()
    for step in plan.steps:
        for argument, place in zip(kernels[step.kernel].arguments, step.places, strict=True):
            if place.base == ARENA:
                continue
            end = extent_value(place.offset, sizes) + count_elements(argument, sizes) * argument.dtype.bytes
            needed[place.base] = max(needed[place.base], end)
            written.update((place.base,) if argument.role != "in" else ())
    most = max((extent_value(instances(kernels[step.kernel]), sizes) for step in plan.steps), default=1)
    return Call(
        library,
        tuple(External(name, size, name in written) for name, size in needed.items()),
        extent_value(plan.arena, sizes),
        tuple(sizes[symbol.name] for symbol in plan.symbols),
        max(1, min(threads, most)),
        flush_denormals,
    )


def count_elements(argument: Argument, symbols: Mapping[str, int]) -> int:
    """Elements from the first of an argument to its last, gaps between rows included; 0 if it has none."""
    if any(extent_value(extent, symbols) <= 0 for extent in argument.shape):
        return 0
    return extent_value(span_elements(argument.shape, argument.strides), symbols)


def make_buffer(argument: Argument, symbols: Mapping[str, int] | None = None) -> Array:
    """Zeros of an argument's shape and strides, in the type that memory has (bf16 and eight-bit floats are those of `ml_dtypes`)."""
    sizes = symbols or {}
    dtype = memory_type(argument.dtype)
    memory = _align(count_elements(argument, sizes) * dtype.itemsize).view(dtype)
    memory[...] = 0
    shape = [max(0, extent_value(extent, sizes)) for extent in argument.shape]
    strides = [extent_value(stride, sizes) * dtype.itemsize for stride in argument.strides]
    return numpy.ndarray(shape, dtype, memory, 0, strides)


def draw_buffer(draw: Draw) -> Array:
    """Memory with made-up data, the same each time."""
    dtype = DTYPES[draw.dtype]
    memory = _align(draw.elements * dtype.bytes).view(memory_type(dtype))
    if dtype.is_float:
        numbers = numpy.random.default_rng(0).standard_normal(min(DRAWN, max(1, draw.elements)), numpy.float32)
        memory[...] = numpy.resize(numbers, draw.elements).astype(memory.dtype)
    else:
        memory[...] = 0
    return memory


def run_call(call: Call, buffers: Mapping[str, Array]) -> int:
    """Run a program on buffers by name, some of which it writes.

    Returns 0, or the number of an index check that failed, from 1, in the order of `tcomp.codegen.checks.program_checks`. Raises
    VerifyError for a buffer that is missing, too small, read-only though it is written, or walked backwards; ToolchainError if the
    library cannot be loaded; KernelFault for a kernel that fails in a program that checks its kernels.
    """
    return BoundCall(call, buffers).run()


def time_calls(calls: Sequence[Call], buffers: Sequence[Mapping[str, Array]], timing: Timing = TIMING) -> list[float]:
    """Seconds that each of several calls takes, on its buffers, in turns; caches are as the run before left them. Raises as `run_call`."""
    bound = [BoundCall(call, given) for call, given in zip(calls, buffers, strict=True)]
    return time_in_turns([call.run for call in bound], timing)


class BoundCall:
    """A call whose library is loaded and whose addresses are known."""

    def __init__(self, call: Call, buffers: Mapping[str, Array]) -> None:
        given = [check_buffer(external, buffers) for external in call.externals]
        self._function = load_program(call.library)
        # Whose addresses the arguments hold.
        self._kept = given, _align(call.arena)
        self._arguments = (
            (ctypes.c_void_p * max(1, len(given)))(*(array.ctypes.data for array in given)),
            self._kept[1].ctypes.data,
            (ctypes.c_int64 * max(1, len(call.symbols)))(*call.symbols),
            call.threads,
            int(call.flush_denormals),
        )

    def run(self) -> int:
        """Run once; returns as `run_call`."""
        fault: int = self._function(*self._arguments)
        return fault


def check_buffer(external: External, buffers: Mapping[str, Array]) -> Array:
    """The buffer of a tensor; raises VerifyError if there is none that will do."""
    where = f"the buffer of {external.name}"
    if external.name not in buffers:
        known = ", ".join(buffers) or "nothing"
        raise VerifyError(f"there is no buffer for {external.name}", where=where, help=f"there are buffers for {known}")
    array = buffers[external.name]
    if any(step < 0 for step, extent in zip(array.strides, array.shape) if extent > 1):
        raise VerifyError(f"{external.name} is walked backwards", where=where, help="pass a copy whose strides are not negative")
    if reach_of(array) < external.bytes:
        raise VerifyError(
            f"{external.name} reaches over {reach_of(array)} bytes and takes {external.bytes}",
            where=where,
            help="pass an array of the tensor's shape and strides, as `make_buffer` makes them",
        )
    if external.is_written and not array.flags.writeable:
        raise VerifyError(f"{external.name} is written and may only be read", where=where, help="pass a copy")
    return array


def reach_of(array: Array) -> int:
    """Bytes from the first element of an array to the end of its last."""
    if not array.size:
        return 0
    last: int = sum((extent - 1) * step for extent, step in zip(array.shape, array.strides))
    return last + array.itemsize


def _align(size: int) -> Array:
    """So many bytes, aligned as those of PyTorch's tensors are, which programs usually run on."""
    memory = numpy.empty(size + ALIGNMENT, numpy.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
