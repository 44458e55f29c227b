"""Running tile programs as compiled C, for tests: numpy arrays in, numpy arrays out, as `tcomp.ir.evaluate.arrays` holds them."""

import functools
from dataclasses import dataclass, field

import numpy

from tcomp.codegen.c.build import build_program
from tcomp.codegen.c.run import make_call, run_call
from tcomp.codegen.c.toolchain import find_toolchain
from tcomp.ir.cascade import Symbol
from tcomp.ir.evaluate.arrays import storage
from tcomp.ir.evaluate.expressions import Environment, evaluate_index
from tcomp.ir.expressions import as_index
from tcomp.ir.plan import Place, Plan, Step
from tcomp.ir.tile import Kernel
from tcomp.settings import read_settings


@functools.cache
def find_compiler():
    """The compiler that the environment asks for, with the sanitizers it asks for."""
    settings = read_settings()
    return find_toolchain(settings.compiler, settings.sanitizers)



@dataclass
class Run:
    """One kernel to run on arrays, which it changes."""

    kernel: Kernel
    arrays: dict[str, numpy.ndarray]
    symbols: dict[str, int] = field(default_factory=dict)


def encode(array, dtype):
    """An array of what compiled code sees: bf16 as its bits."""
    if dtype.name == "bf16":
        return (numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32) >> 16).astype(numpy.uint16)
    return array


def decode(data, dtype):
    return (data.astype(numpy.uint32) << 16).view(numpy.float32) if dtype.name == "bf16" else data


class Memory:
    """The memory of one argument, laid out by its strides, between words that show writes outside it."""

    def __init__(self, argument, array, symbols):
        assert array.dtype == storage(argument.dtype), argument
        self.argument, self.array = argument, array
        data = encode(array, argument.dtype)
        shape = tuple(int(evaluate_index(e, Environment(symbols, {}, None))) for e in argument.shape)
        strides = [int(evaluate_index(s, Environment(symbols, {}, None))) for s in argument.strides]
        if array.shape != shape:
            strides = [1]  # flat memory
        reach = 1 + sum(s * (n - 1) for s, n in zip(strides, array.shape)) if array.size else 0
        self.bytes = numpy.full(reach * data.itemsize + 128, 0xA5, numpy.uint8)
        flat = self.bytes[64:-64].view(data.dtype)
        self.view = numpy.lib.stride_tricks.as_strided(flat, array.shape, [s * data.itemsize for s in strides])
        self.view[...] = data
        self.before = self.bytes.copy()

    @property
    def buffer(self):
        return self.bytes[64:-64]

    def read_back(self):
        """Check that nothing else was written, and copy the result into the array."""
        assert (self.bytes[:64] == 0xA5).all() and (self.bytes[-64:] == 0xA5).all(), f"{self.argument.name} was written outside"
        assert self.argument.role != "in" or (self.bytes == self.before).all(), f"{self.argument.name} was written"
        self.array[...] = decode(self.view, self.argument.dtype)


def run_compiled(runs, folder, threads=2, flush=False):
    """Compile the kernels into one program and run them all, in order; results land in the arrays.

    Returns the number of a check that failed, or 0.
    """
    externals, steps, kernels, memories = [], [], {}, []
    symbols = dict(item for run in runs for item in run.symbols.items())
    for number, run in enumerate(runs):
        names = [f"{number}.{argument.name}" for argument in run.kernel.arguments]
        externals += names
        memories += [Memory(argument, run.arrays[argument.name], run.symbols) for argument in run.kernel.arguments]
        kernels[f"k{number}"] = run.kernel
        steps.append(Step(f"k{number}", tuple(Place(name, as_index(0)) for name in names)))
    plan = Plan(tuple(externals), as_index(0), tuple(steps), tuple(Symbol(name, 0) for name in symbols))
    checked = read_settings().checks_kernels
    library = build_program(plan, kernels, toolchain=find_compiler(), cache_directory=folder, checked=checked)
    call = make_call(library, plan, kernels, symbols, threads=threads, flush_denormals=flush)
    fault = run_call(call, {name: memory.buffer for name, memory in zip(externals, memories)})
    for memory in memories:
        memory.read_back()
    return fault
