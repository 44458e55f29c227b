"""Runs compiled stages whose kernels are Triton's: on a GPU, or interpreted on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tcomp.codegen.triton.build import Launcher, make_launchers
from tcomp.codegen.triton.module import load_functions
from tcomp.ir.errors import ToolchainError, Unsupported
from tcomp.machine.cuda import Cuda
from tcomp.machine.devices import CPU
from tcomp.program.kernels import TritonLibrary
from tcomp.program.program import CompiledStage
from tcomp.program.sizes import make_evaluator
from tcomp.runtime.binding.call import Bindings, Clock, Sizes, make_fault
from tcomp.runtime.binding.weights import Snapshot
from tcomp.runtime.gpu.device import DeviceProgram, Loader
from tcomp.runtime.gpu.graphs import Bound
from tcomp.runtime.gpu.interpreter import InterpretedProgram
from tcomp.runtime.gpu.layout import Layout, Layouts
from tcomp.runtime.gpu.variants import Variant, compile_variants, find_cache


class LoadedProgram(Protocol):
    """A library that can be run."""

    def run(self, snapshot: Snapshot, inputs: Bound, results: Bound, layout: Layout) -> int | None:
        """Run all steps; returns the number of a check that failed, or None."""

    def run_once(self, externals: Bound, layout: Layout) -> int | None:
        """Run all steps on these externals, and wait until that is done; returns the number of a check that failed, or None."""

    def synchronise(self) -> None:
        """Wait until all that was started is done."""


class TritonRunner:
    """A compiled stage of Triton kernels, loaded."""

    def __init__(
        self, stage: CompiledStage, number: int, symbols: Sequence[str], bindings: Bindings, device: torch.device, *, is_recorded: bool
    ) -> None:
        assert isinstance(stage.main, TritonLibrary)
        self.stage = stage
        # Of a symbolic size: what calls have needed so far.
        self.arena_bytes = stage.main.arena.constant if stage.main.arena.is_constant else 0
        self._checks = stage.main.checks
        self._number = number
        self._names = symbols
        self._bindings = bindings
        self._layouts = Layouts(stage.main, symbols)
        self._program = load_program(stage.main, device, self._find_constants, is_recorded=is_recorded)

    def run(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> None:
        """Compute the stage's results into `values`; on a GPU, start to.

        Raises IndexOutOfRange: interpreted, for an index of this call; on a GPU for one of an earlier call, as CUDA itself reports late.
        """
        bindings = self._bindings
        for slot, allocator in bindings.unchecked:
            values[slot] = allocator.fit(values[slot], sizes)
        inputs = [(place, values[slot]) for place, slot in bindings.inputs]
        results = []
        for place, slot, allocator in bindings.results:
            values[slot] = allocator.make(sizes)
            if place is not None:
                results.append((place, values[slot]))
        layout = self._layouts.read(sizes)
        self.arena_bytes = max(self.arena_bytes, layout.arena)
        fault = self._program.run(snapshot, inputs, results, layout)
        if fault is not None:
            check = self._checks[fault]
            raise make_fault(check, make_evaluator(self._names, (check.extent,))(sizes)[0])

    def run_measured(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, clock: Clock) -> None:
        """Run, and tell the time until all is done."""
        self._program.synchronise()
        start = time.perf_counter()
        self.run(values, sizes, snapshot)
        self._program.synchronise()
        clock("", time.perf_counter() - start)

    def run_steps(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> tuple[float, ...]:
        """Raise Unsupported."""
        raise Unsupported(
            "kernels of Triton are not timed one by one",
            where=f"a program of {len(self.stage.report().kernels)} kernels",
            help="torch.profiler shows them on a GPU (docs/gpu.md); profile the module on the CPU for kernels of C",
        )

    def _find_constants(self, snapshot: Snapshot) -> Bound:
        folded = snapshot.folded[self._number]
        constants = [(place, snapshot.placed[name]) for place, name in self._bindings.constants]
        return constants + [(place, folded[name]) for place, name in self._bindings.folded]


class TritonPrelude:
    """What folds weights, loaded."""

    def __init__(self, library: TritonLibrary, device: torch.device) -> None:
        self._library = library
        self._layout = Layouts(library, ()).read(())
        self._program = load_program(library, device, lambda snapshot: (), is_recorded=False)

    def run(self, tensors: Mapping[str, Tensor]) -> None:
        """Fold, and wait until that is done, so that any stream may read the result. Raises IndexOutOfRange."""
        fault = self._program.run_once([(number, tensors[name]) for number, name in enumerate(self._library.externals)], self._layout)
        if fault is not None:
            check = self._library.checks[fault]
            raise make_fault(check, check.extent.constant)


def load_program(
    library: TritonLibrary, device: torch.device, find_constants: Callable[[Snapshot], Bound], *, is_recorded: bool
) -> LoadedProgram:
    """Load a library for tensors on a device: on the CPU to be interpreted. Raises ToolchainError where a kernel does not compile."""
    if device == CPU:
        return InterpretedProgram(library, find_constants)
    cuda = Cuda(device)
    return DeviceProgram(library, cuda, make_loader(library, cuda), find_constants, is_recorded=is_recorded)


def make_loader(library: TritonLibrary, cuda: Cuda) -> Loader:
    """What compiles kernels of a library and loads them onto a device; it raises ToolchainError where one does not."""
    functions = [load_functions(kernel.path, "jit")[kernel.unit.symbol] for kernel in library.kernels]

    def load(variants: Sequence[Variant]) -> list[Launcher]:
        compiled = compile_variants(library, functions, variants)
        for kernel in compiled:
            if isinstance(kernel, ToolchainError):
                raise kernel
        return make_launchers(compiled, find_cache(library), cuda.on_device)

    return load
