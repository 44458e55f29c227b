"""Compile many graphs together: the road of `tcomp.compile`, but all kernels of a batch in one translation unit.

Compiled one by one, most of the time would go into starting the C compiler and reading its headers.
"""

import itertools
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.fx import GraphModule

from tcomp.codegen.c.kernel import COptions
from tcomp.codegen.c.program import KernelUnit, driver_source, kernel_units
from tcomp.codegen.c.toolchain import SUPPORT, Report, Toolchain
from tcomp.ir.errors import ToolchainError
from tcomp.ir.plan import Plan
from tcomp.ir.tile import Kernel
from tcomp.options import Options
from tcomp.program.program import EagerStage, Program
from tcomp.runtime.execution import Execution
from tcomp.stages import makers
from tcomp.stages.graph import compile_functional

OPTIONS = Options(fallback="silent", threads=1)
INTERPRETED = Options(fallback="silent", threads=1, backend="triton", interpret=True)


@dataclass(frozen=True)
class Manner:
    """How samples are run: as C compiled with some flags beside the usual ones, or as Triton in its interpreter."""

    flags: tuple[str, ...] = ()
    is_interpreted: bool = False

    @property
    def options(self) -> Options:
        return INTERPRETED if self.is_interpreted else OPTIONS


@dataclass(frozen=True, eq=False)
class Compiled:
    """A graph compiled in a batch; it can run once the batch is built."""

    program: Program
    constants: Mapping[str, Tensor]
    options: Options

    def has_fallback(self) -> bool:
        """Whether any operator is left to eager."""
        return any(isinstance(stage, EagerStage) for stage in self.program.stages)

    def run(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Compute the graph's outputs."""
        execution = Execution(self.program, lambda: self.constants, self.options)
        with torch.no_grad():
            return execution.run(tensors)


class Batch:
    """The plans of several graphs, built into libraries over one library of all their kernels."""

    def __init__(self, folder: Path, manner: Manner) -> None:
        self._folder = folder
        self._manner = manner
        self._toolchain: Toolchain | None = None
        self._kernels: dict[str, KernelUnit] = {}
        self._drivers: dict[Path, str] = {}
        # A stage builds its two programs in two threads.
        self._numbers = itertools.count()

    def compile(self, graph: GraphModule) -> Compiled:
        """Compile all but the C code, which `build` does."""
        options = self._manner.options
        with patch.object(makers, "build_program", self._add):
            return Compiled(*compile_functional(graph, options), options)

    def build(self) -> None:
        """Build what has been compiled; raises ToolchainError."""
        if not self._drivers:
            return
        # The loader takes a library that is loaded already for every other that is asked for by the same name.
        kernels = f"libkernels-{self._folder.name}.so"
        self._write("kernels.c", "\n".join(unit.source for unit in self._kernels.values()))
        self._compile("kernels.c", kernels, "-fvisibility=default")
        for path, source in self._drivers.items():
            self._write(f"{path.stem}.c", source)
            self._compile(f"{path.stem}.c", path.name, "-w", "-L.", f"-l:{kernels}", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed")

    def _add(
        self, plan: Plan, kernels: Mapping[str, Kernel], *, toolchain: Toolchain, cache_directory: Path, checked: bool, report: Report
    ) -> Path:
        """Stand in for build_program: the library will be there once the batch is built."""
        del cache_directory, report
        self._toolchain = toolchain
        units = dict(kernel_units(plan, kernels, COptions(toolchain.lanes)))
        source = driver_source(plan, units, checked=checked)
        path = self._folder / f"program_{next(self._numbers)}.so"
        self._kernels.update((unit.symbol, unit) for unit in units.values())
        self._drivers[path] = source
        return path

    def _write(self, name: str, source: str) -> None:
        (self._folder / name).write_text(source)

    def _compile(self, source: str, target: str, *flags: str) -> None:
        assert self._toolchain is not None
        extra = (*self._manner.flags, "-I", str(SUPPORT), "-shared", *self._toolchain.link_flags)
        command = (*self._toolchain.command, *self._toolchain.flags, *extra, source, "-o", target, *flags, "-lm")
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolchainError("the C compiler failed on a batch", where=done.stderr[:2000])


@contextmanager
def open_batch(manner: Manner) -> Iterator[Batch]:
    """A batch in a folder that lasts as long as the context."""
    with tempfile.TemporaryDirectory(prefix="tcomp-batch-") as folder:
        yield Batch(Path(folder), manner)
