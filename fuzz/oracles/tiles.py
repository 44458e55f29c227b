"""Run compiled cascades by evaluating their tile programs along the plan, on memory that is laid out as a program's is.

Every byte of memory stands for eight, so that float64 can stand for any element type where the oracle computes in it. An access
outside the arena or a tensor raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy

from tcomp.ir.cascade import Tensor
from tcomp.ir.dtypes import DType
from tcomp.ir.evaluate.arrays import Array, storage
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.expressions import Index
from tcomp.ir.plan import ARENA
from tcomp.ir.tile import Kernel, contiguous_strides
from tcomp.passes.program import Compiled, Program

GARBAGE = 0xA5
"""What memory holds before anything is written."""
WIDTH = 8
"""Bytes that stand for one."""

RunKernel: TypeAlias = Callable[[Kernel, Mapping[str, Array], Mapping[str, int]], object]
"""Runs a kernel on arrays, which it changes, where symbols have these values."""


def run_tiles(
    compiled: Compiled,
    inputs: Mapping[str, Array],
    symbols: Mapping[str, int] | None = None,
    strides: Mapping[str, tuple[Index, ...]] | None = None,
    *,
    float64: bool = True,
    shuffle: int | None = None,
    run: RunKernel | None = None,
) -> dict[str, Array]:
    """Run prelude and main on arrays by name; the outputs by name, of the cascade as it was before compilation.

    `shuffle` is the seed of an order in which instances of kernels run, where they may run in any. `run` runs a kernel in place of the
    evaluator.
    """
    source, strides = compiled.source, strides or {}
    memory = Memory(symbols or {}, float64, run or partial(evaluate_kernel, float64=float64, shuffle=shuffle))
    for tensor in source.inputs:
        memory.allocate(tensor.name, tensor, strides.get(tensor.name))[...] = inputs[tensor.name]
    made = compiled.prelude.cascade.tensors()
    lie = dict(compiled.prelude.memories)
    for name in compiled.prelude.cascade.outputs:
        memory.allocate(name, made[name], lie[name].strides)
    memory.run(compiled.prelude)
    tensors = source.tensors()
    results = {}
    for name, stored in zip(source.outputs, compiled.main.cascade.outputs, strict=True):
        results[name] = memory.allocate(stored, tensors[name], strides.get(name))
    memory.run(compiled.main)
    return results


class Memory:
    """The external tensors of a compiled cascade, by name."""

    def __init__(self, symbols: Mapping[str, int], float64: bool, run: RunKernel) -> None:
        self.symbols, self.float64, self.run_kernel = symbols, float64, run
        self.tensors: dict[str, Array] = {}

    def sizes(self, extents: Sequence[Index]) -> list[int]:
        """The numbers that extents stand for."""
        return [extent_value(extent, self.symbols) for extent in extents]

    def allocate(self, name: str, tensor: Tensor, strides: Sequence[Index] | None = None) -> Array:
        """Make memory for a tensor and return its elements."""
        shape = self.sizes(tensor.shape)
        steps = self.sizes(strides or contiguous_strides(tensor.shape))
        reach = 1 + sum((n - 1) * s for n, s in zip(shape, steps)) if all(shape) else 0
        memory = self.tensors[name] = numpy.full(reach * tensor.dtype.bytes * WIDTH, GARBAGE, numpy.uint8)
        return _view(memory, 0, tensor.dtype, shape, steps, self.float64)

    def run(self, program: Program) -> None:
        """Run the kernels of one program."""
        kernels = dict(program.kernels)
        arena = numpy.full(extent_value(program.plan.arena, self.symbols) * WIDTH, GARBAGE, numpy.uint8)
        for step in program.plan.steps:
            kernel = kernels[step.kernel]
            arrays = {}
            for argument, place in zip(kernel.arguments, step.places, strict=True):
                memory = arena if place.base == ARENA else self.tensors[place.base]
                shape, strides = self.sizes(argument.shape), self.sizes(argument.strides)
                offset = extent_value(place.offset, self.symbols)
                empty = numpy.empty(shape, storage(argument.dtype, self.float64))
                view = _view(memory, offset, argument.dtype, shape, strides, self.float64) if empty.size else empty
                arrays[argument.name] = view
            self.run_kernel(kernel, arrays, self.symbols)


def _view(memory: Array, offset: int, dtype: DType, shape: Sequence[int], strides: Sequence[int], float64: bool) -> Array:
    """The elements of a tensor at a byte offset, of which each byte takes eight."""
    steps = [step * dtype.bytes * WIDTH for step in strides]
    return numpy.ndarray(shape, storage(dtype, float64), memory, offset * WIDTH, steps)
