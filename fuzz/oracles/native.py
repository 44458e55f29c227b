"""Run compiled cascades as C, between words that show writes outside what a program was given."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy

from tcomp.codegen.c.build import build_program
from tcomp.codegen.c.run import Call, make_call, run_call
from tcomp.codegen.c.toolchain import Toolchain, find_toolchain
from tcomp.ir.evaluate.arrays import Array, memory_type, storage
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.program import Compiled, Program
from tcomp.settings import read_settings

GUARD = 4096
"""Bytes on either side of a tensor that nobody may write."""
GARBAGE = 0xA5


@functools.cache
def find_compiler() -> Toolchain:
    """The compiler that the environment asks for, with the sanitizers it asks for."""
    settings = read_settings()
    return find_toolchain(settings.compiler, settings.sanitizers, settings.compiler_seconds)


class Outside(Exception):  # noqa: N818 (it says what was written)
    """A program wrote outside a tensor."""


class Native:
    """A compiled cascade, built; running it any number of times."""

    def __init__(self, compiled: Compiled, cache: Path, sizes: Mapping[str, int] | None = None) -> None:
        self.compiled = compiled
        self.sizes = sizes or {}
        self.prelude, self.main = (_build(program, cache, self.sizes) for program in (compiled.prelude, compiled.main))

    def run(self, inputs: Mapping[str, Array], threads: int) -> dict[str, Array]:
        """The outputs by name, of the cascade as it was before compilation; raises Outside."""
        memory: dict[str, Array] = {}
        self._run(self.compiled.prelude, self.prelude, inputs, memory, threads)
        self._run(self.compiled.main, self.main, inputs, memory, threads)
        lie = dict(self.compiled.main.memories)
        outputs = zip(self.compiled.source.outputs, self.compiled.main.cascade.outputs, strict=True)
        tensors = self.compiled.source.tensors()
        results = {}
        for name, stored in outputs:
            dtype = tensors[name].dtype
            results[name] = self._view(memory[stored], lie[stored]).astype(storage(dtype)).reshape(-1)
        return results

    def _run(self, program: Program, call: Call | None, inputs: Mapping[str, Array], memory: dict[str, Array], threads: int) -> None:
        if call is None:
            return
        lie = dict(program.memories)
        for external in call.externals:
            if external.name in memory:
                continue
            size = max(external.bytes, extent_value(lie[external.name].bytes, self.sizes))
            memory[external.name] = numpy.full(size + 2 * GUARD, GARBAGE, numpy.uint8)
            if external.name in inputs:
                view = self._view(memory[external.name], lie[external.name])
                view[...] = inputs[external.name].reshape(view.shape)
        again = Call(call.library, call.externals, call.arena, call.symbols, threads)
        run_call(again, {e.name: memory[e.name][GUARD:-GUARD] for e in call.externals})
        for external in call.externals:
            if (memory[external.name][:GUARD] != GARBAGE).any() or (memory[external.name][-GUARD:] != GARBAGE).any():
                raise Outside(f"{external.name} was written outside")


    def _view(self, memory: Array, lie: Memory) -> Array:
        """The elements of a tensor inside its memory."""
        dtype = memory_type(lie.dtype)
        shape = [extent_value(extent, self.sizes) for extent in lie.shape]
        strides = [extent_value(stride, self.sizes) * dtype.itemsize for stride in lie.strides]
        return numpy.ndarray(shape, dtype, memory, GUARD + extent_value(lie.offset, self.sizes) * dtype.itemsize, strides)


def _build(program: Program, cache: Path, sizes: Mapping[str, int]) -> Call | None:
    if not program.plan.steps:
        return None
    kernels = dict(program.kernels)
    checked = read_settings().checks_kernels
    library = build_program(program.plan, kernels, toolchain=find_compiler(), cache_directory=cache, checked=checked, jobs=1)
    return make_call(library, program.plan, kernels, sizes)
