"""Running tile programs as Triton, for tests: numpy arrays in, numpy arrays out, as `tcomp.ir.evaluate.arrays` holds them.

`run_interpreted` runs them on the CPU; `compile_ahead` compiles them for a GPU that need not be there.
"""

import numpy
import pytest
import torch

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from tcomp.codegen.launch import instances  # noqa: E402
from tcomp.codegen.triton.kernel import TritonOptions, module_source, triton_unit  # noqa: E402
from tcomp.codegen.triton.module import load_functions  # noqa: E402
from tcomp.ir.evaluate.arrays import storage  # noqa: E402
from tcomp.ir.evaluate.expressions import extent_value  # noqa: E402

TORCH_TYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2, "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip
GUARD = 64
"""Bytes before and after an argument that show writes outside it."""


class Memory:
    """The memory of one argument, laid out by its strides, between bytes that show writes outside it."""

    def __init__(self, argument, array, symbols):
        assert array.dtype == storage(argument.dtype), argument
        self.argument, self.array = argument, array
        self.type = TORCH_TYPES[argument.dtype.name]
        shape = tuple(extent_value(e, symbols) for e in argument.shape)
        strides = tuple(extent_value(s, symbols) for s in argument.strides)
        if array.shape != shape:
            shape, strides = array.shape, (1,)  # flat memory
        reach = 1 + sum(s * (n - 1) for n, s in zip(shape, strides)) if array.size else 0
        self.bytes = torch.full((reach * argument.dtype.bytes + 2 * GUARD,), 0xA5, dtype=torch.uint8)
        flat = self.bytes[GUARD : len(self.bytes) - GUARD].view(self.type)
        self.flat = flat
        self.view = flat.as_strided(shape, strides) if array.size else flat.new_empty(shape)
        self.view.copy_(torch.from_numpy(numpy.array(array)).to(self.type))
        self.before = self.bytes.clone()

    def read_back(self):
        """Check that nothing else was written, and copy the result into the array."""
        edges = torch.cat([self.bytes[:GUARD], self.bytes[-GUARD:]])
        assert (edges == 0xA5).all(), f"{self.argument.name} was written outside"
        assert self.argument.role != "in" or torch.equal(self.bytes, self.before), f"{self.argument.name} was written"
        wide = self.view.to(torch.float32) if self.argument.dtype.name in ("bf16", "e4m3", "e5m2") else self.view
        self.array[...] = wide.numpy()


def load(kernel, folder, mode="interpret", options=None):
    """A kernel's unit and function."""
    unit = triton_unit(kernel, options or TritonOptions())
    path = folder / f"{unit.symbol}.py"
    path.write_text(module_source([unit]))
    return unit, load_functions(path, mode)[unit.symbol]


def run_interpreted(kernel, arrays, folder, symbols=None, options=None):
    """Run a kernel on arrays, which it changes. Returns the numbers of the checks that failed."""
    symbols = symbols or {}
    unit, function = load(kernel, folder, options=options)
    memories = [Memory(argument, arrays[argument.name], symbols) for argument in kernel.arguments]
    count = extent_value(instances(kernel), symbols)
    values = [memory.flat for memory in memories] + [symbols[s.name] for s in kernel.symbols]
    scratch = torch.full((count * unit.scratch + 2 * GUARD,), 0x7F, dtype=torch.int8)
    faults = torch.zeros(unit.checks, dtype=torch.int32)
    values += [scratch[GUARD:]] * bool(unit.scratch) + [faults] * bool(unit.checks)
    function[(count,)](*values)
    for memory in memories:
        memory.read_back()
    assert (scratch[:GUARD] == 0x7F).all() and (scratch[len(scratch) - GUARD :] == 0x7F).all(), "scratch was written outside"
    return [number for number, fault in enumerate(faults.tolist()) if fault]


def compile_ahead(kernel, folder, architecture=90, warps=4, stages=3, options=None):
    """Compile a kernel for a GPU of an architecture; what Triton makes of it."""
    unit, function = load(kernel, folder, "jit", options)
    signature = {parameter.name: parameter.type for parameter in unit.parameters}
    attributes = {(k,): [["tt.divisibility", 16]] for k, p in enumerate(unit.parameters) if p.type.startswith("*")}
    source = ASTSource(fn=function, signature=signature, constexprs={}, attrs=attributes)
    options = {"num_warps": kernel.warps or warps, "num_stages": kernel.stages or stages}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
