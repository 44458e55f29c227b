"""Time C kernels on this machine, to choose among several that compute the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tcomp.codegen.c.build import build_program
from tcomp.codegen.c.child import Child
from tcomp.codegen.c.run import Call, Draw, count_elements, make_call
from tcomp.codegen.c.toolchain import Toolchain, count_processors
from tcomp.codegen.launch import plan_alone
from tcomp.codegen.timing import TIMING, Timing, choose_sizes
from tcomp.ir.errors import CacheError, KernelFault, ToolchainError
from tcomp.ir.plan import MatrixProduct
from tcomp.ir.tile import Kernel

Report = Callable[[str, int, int], None]
"""Told what was done, and how many steps of how many are."""


class Measurer:
    """Measures kernels on made-up data in a child process, equal ones once; what does not compile, crashes or does not end takes forever.

    Kernels run on `threads` threads as in a program. Symbols are taken to be `size`, as far as their ranges allow.
    """

    def __init__(
        self,
        toolchain: Toolchain,
        cache_directory: Path,
        *,
        threads: int,
        flush_denormals: bool,
        size: int,
        report: Report,
        timing: Timing = TIMING,
        child: Child | None = None,
    ) -> None:
        self._toolchain = toolchain
        self._folder = cache_directory
        self._threads = threads
        self._flush_denormals = flush_denormals
        self._size = size
        self._report = report
        self._timing = timing
        self._child = child or Child()
        self._known: dict[Kernel, float] = {}

    def __call__(self, trials: Sequence[tuple[Kernel, MatrixProduct | None]]) -> list[float]:
        """Seconds that each kernel takes, timed in turns; infinite for one that cannot run. There is no library of products here.

        Raises CacheError if there is nowhere to build them.
        """
        kernels = [replace(kernel, name="kernel") for kernel, product in trials if product is None]
        assert len(kernels) == len(trials), "no library of matrix products is measured on a CPU"
        missing = [kernel for kernel in dict.fromkeys(kernels) if kernel not in self._known]
        if missing:
            self._known.update(zip(missing, self._measure(missing), strict=True))
            self._report(f"measured {trials[0][0].name}", len(self._known), len(self._known))
        return [self._known[kernel] for kernel in kernels]

    def _measure(self, kernels: Sequence[Kernel]) -> list[float]:
        """Build all, several at a time, and time those that could be."""
        with ThreadPoolExecutor(max_workers=count_processors()) as pool:
            libraries = list(pool.map(self._build, kernels))
        built = [number for number, library in enumerate(libraries) if library is not None]
        calls: list[Call] = []
        draws: list[list[Draw]] = []
        for number in built:
            kernel, library = kernels[number], libraries[number]
            assert library is not None
            sizes = choose_sizes(kernel.symbols, self._size)
            calls.append(
                make_call(
                    library,
                    plan_alone(kernel),
                    {kernel.name: kernel},
                    sizes,
                    threads=self._threads,
                    flush_denormals=self._flush_denormals,
                )
            )
            draws.append([Draw(argument.dtype.name, count_elements(argument, sizes)) for argument in kernel.arguments])
        found = dict(zip(built, self._time(calls, draws), strict=True))
        return [found.get(number, math.inf) for number in range(len(kernels))]

    def _build(self, kernel: Kernel) -> Path | None:
        """The library of a kernel; None if the compiler will not have it."""
        try:
            return build_program(
                plan_alone(kernel), {kernel.name: kernel}, toolchain=self._toolchain, cache_directory=self._folder, jobs=1
            )
        except CacheError:
            raise
        except ToolchainError:
            return None

    def _time(self, calls: Sequence[Call], draws: Sequence[Sequence[Draw]]) -> list[float]:
        """Seconds of each; where the child does not survive all of them, each by itself."""
        if not calls:
            return []
        try:
            return self._child.time(calls, draws, self._timing)
        except KernelFault:
            if len(calls) == 1:
                return [math.inf]
        return [seconds for call, draw in zip(calls, draws) for seconds in self._time([call], [draw])]
