"""Run compiled cascades as Triton kernels, in the interpreter of Triton and on memory with guards."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from tcomp.codegen.launch import instances
from tcomp.codegen.triton.kernel import TritonOptions, TritonUnit, module_source, triton_unit
from tcomp.codegen.triton.module import load_functions
from tcomp.fuzz.oracles.native import Outside
from tcomp.fuzz.oracles.tiles import run_tiles
from tcomp.ir.evaluate.arrays import Array, storage
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.tile import Argument, Kernel
from tcomp.passes.program import Compiled

TORCH_TYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2, "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip
GUARD = 64
"""Bytes before and after an argument that show writes outside it."""
GARBAGE, SCRATCH_GARBAGE = 0xA5, 0x7F
IEEE = TritonOptions("ieee")


def run_triton(compiled: Compiled, inputs: Mapping[str, Array], sizes: Mapping[str, int] | None = None) -> dict[str, Array]:
    """Run prelude and main on arrays by name, each of its own type; the outputs by name. Raises Outside."""
    narrow = {tensor.name: inputs[tensor.name].astype(storage(tensor.dtype)) for tensor in compiled.source.inputs}
    with tempfile.TemporaryDirectory(prefix="tcomp-fuzz-") as folder:
        return run_tiles(compiled, narrow, sizes, float64=False, run=partial(_run_whole, folder=Path(folder)))


def _run_whole(kernel: Kernel, arrays: Mapping[str, Array], symbols: Mapping[str, int], folder: Path) -> None:
    # A random index may well be outside: it is left out, and told, which is right.
    run_interpreted(kernel, arrays, folder, symbols, IEEE)


def run_interpreted(
    kernel: Kernel,
    arrays: Mapping[str, Array],
    folder: Path,
    symbols: Mapping[str, int] | None = None,
    options: TritonOptions | None = None,
) -> list[int]:
    """Run a kernel on arrays, which it changes. Returns the numbers of the checks that failed; raises Outside."""
    symbols = symbols or {}
    unit, function = load(kernel, folder, options=options)
    memories = [_Memory(argument, arrays[argument.name], symbols) for argument in kernel.arguments]
    count = extent_value(instances(kernel), symbols)
    values: list[Any] = [memory.flat for memory in memories] + [symbols[s.name] for s in kernel.symbols]
    scratch = torch.full((count * unit.scratch + 2 * GUARD,), SCRATCH_GARBAGE, dtype=torch.int8)
    faults = torch.zeros(unit.checks, dtype=torch.int32)
    values += [scratch[GUARD:]] * bool(unit.scratch) + [faults] * bool(unit.checks)
    function[(count,)](*values)
    for memory in memories:
        memory.read_back()
    if (scratch[:GUARD] != SCRATCH_GARBAGE).any() or (scratch[len(scratch) - GUARD :] != SCRATCH_GARBAGE).any():
        raise Outside("scratch was written outside")
    return [number for number, fault in enumerate(faults.tolist()) if fault]


def load(kernel: Kernel, folder: Path, mode: Any = "interpret", options: TritonOptions | None = None) -> tuple[TritonUnit, Any]:
    """A kernel's unit and function, of a module that is written into a folder."""
    unit = triton_unit(kernel, options or TritonOptions())
    path = folder / f"{unit.symbol}.py"
    path.write_text(module_source([unit]))
    return unit, load_functions(path, mode)[unit.symbol]


class _Memory:
    """The memory of one argument, laid out by its strides, between bytes that show writes outside it."""

    def __init__(self, argument: Argument, array: Array, symbols: Mapping[str, int]) -> None:
        assert array.dtype == storage(argument.dtype), argument
        self.argument, self.array = argument, array
        self.type = TORCH_TYPES[argument.dtype.name]
        shape = tuple(extent_value(e, symbols) for e in argument.shape)
        strides = tuple(extent_value(s, symbols) for s in argument.strides)
        if array.shape != shape:
            shape, strides = array.shape, (1,)  # flat memory
        reach = 1 + sum(s * (n - 1) for n, s in zip(shape, strides)) if array.size else 0
        self.bytes = torch.full((reach * argument.dtype.bytes + 2 * GUARD,), GARBAGE, dtype=torch.uint8)
        self.flat: Tensor = self.bytes[GUARD : len(self.bytes) - GUARD].view(self.type)
        self.view = self.flat.as_strided(shape, strides) if array.size else self.flat.new_empty(shape)
        self.view.copy_(torch.from_numpy(numpy.array(array)).to(self.type))
        self.before = self.bytes.clone()

    def read_back(self) -> None:
        """Check that nothing else was written, and copy the result into the array."""
        edges = torch.cat([self.bytes[:GUARD], self.bytes[-GUARD:]])
        if (edges != GARBAGE).any():
            raise Outside(f"{self.argument.name} was written outside")
        if self.argument.role == "in" and not torch.equal(self.bytes, self.before):
            raise Outside(f"{self.argument.name} was written")
        wide = self.view.to(torch.float32) if self.argument.dtype.name in ("bf16", "e4m3", "e5m2") else self.view
        self.array[...] = wide.numpy()
