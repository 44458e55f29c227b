"""Runs a Triton library in Triton's interpreter, on tensors of the CPU; to debug kernels, and to test them without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tcomp.codegen.triton.build import TRITON_LOCK
from tcomp.codegen.triton.module import load_functions
from tcomp.machine.devices import CPU
from tcomp.program.kernels import TritonKernel, TritonLibrary
from tcomp.runtime.binding.weights import Snapshot
from tcomp.runtime.gpu.graphs import Bound
from tcomp.runtime.gpu.layout import ARENA, KernelCall, Layout, allocate, call_library, view_memory
from tcomp.torch_types import TORCH_DTYPES


class InterpretedProgram:
    """A library whose kernels are interpreted."""

    def __init__(self, library: TritonLibrary, find_constants: Callable[[Snapshot], Bound]) -> None:
        self._library = library
        self._find_constants = find_constants
        self._functions = [load_functions(kernel.path, "interpret")[kernel.unit.symbol] for kernel in library.kernels]

    def run(self, snapshot: Snapshot, inputs: Bound, results: Bound, layout: Layout) -> int | None:
        """Run all steps; returns the number of the first check that failed, or None."""
        return self.run_once((*self._find_constants(snapshot), *inputs, *results), layout)

    def run_once(self, externals: Bound, layout: Layout) -> int | None:
        """Run all steps on these externals; returns the number of the first check that failed, or None."""
        memory = allocate(layout.arena + layout.scratch, CPU)
        scratch = memory[layout.arena :]
        faults = torch.zeros(len(self._library.checks), dtype=torch.int32)
        tensors = dict(externals)

        def find_memory(number: int) -> Tensor:
            return memory if number == ARENA else tensors[number]

        # The interpreter exchanges functions of Triton's own modules while it runs.
        with TRITON_LOCK:
            for call in layout.calls:
                if not isinstance(call, KernelCall):
                    call_library(call, find_memory)
                elif call.grid:
                    kernel = self._library.kernels[call.kernel]
                    arguments = _make_arguments(kernel, call, layout, find_memory, scratch, faults[call.first_check :])
                    self._functions[call.kernel][(call.grid,)](*arguments)
        failed = faults.nonzero()
        return int(failed[0]) if len(failed) else None

    def synchronise(self) -> None:
        """Do nothing: when a call returns, it is done."""


def _make_arguments(
    kernel: TritonKernel, call: KernelCall, layout: Layout, find_memory: Callable[[int], Tensor], scratch: Tensor, faults: Tensor
) -> list[Any]:
    """The arguments of a kernel in the order of its unit's parameters."""
    unit = kernel.unit
    arguments: list[Any] = [
        view_memory(find_memory(address.memory), address.offset, TORCH_DTYPES[argument.dtype])
        for argument, address in zip(unit.kernel.arguments, call.addresses, strict=True)
    ]
    arguments += [layout.symbols[symbol.name] for symbol in unit.kernel.symbols]
    arguments += [scratch] if unit.scratch else []
    arguments += [faults] if unit.checks else []
    return arguments
