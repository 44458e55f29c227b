"""What makes libraries of the kernels of a stage: C, compiled and linked at once, or Triton, written down and compiled when loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from tcomp.codegen.c.build import build_program
from tcomp.codegen.c.kernel import COptions
from tcomp.codegen.c.measure import Measurer
from tcomp.codegen.c.program import kernel_unit
from tcomp.codegen.c.toolchain import Toolchain
from tcomp.codegen.launch import instances
from tcomp.codegen.temporary import private_folder
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.target import Gpu, Target
from tcomp.ir.tile import Kernel
from tcomp.machine.cuda import Cuda
from tcomp.machine.devices import find_obstacle
from tcomp.machine.gpus import find_gpu
from tcomp.machine.toolchains import find_machine
from tcomp.options import Options
from tcomp.passes.choose import Measure
from tcomp.passes.cost.sizes import UNKNOWN_EXTENT
from tcomp.passes.program import Program as Kernels
from tcomp.program.kernels import Check, Library, TritonLibrary
from tcomp.progress import report_progress
from tcomp.settings import Settings
from tcomp.stages.gpu_plan import choose_options, plan_library


class CMaker:
    """Makes libraries of C kernels."""

    suffix = ".c"

    def __init__(self, options: Options, settings: Settings) -> None:
        self._toolchain, target = find_machine(
            settings.compiler, settings.sanitizers, settings.target, settings.compiler_seconds
        )
        self.target: Target = target
        self._options = options
        self._settings = settings
        self.measure = find_c_measure(options, self._toolchain, settings)
        """Times kernels, to choose among several."""

    def print_kernel(self, kernel: Kernel) -> str:
        """The source of a kernel."""
        return kernel_unit(kernel, COptions(self._toolchain.lanes)).source

    def make(self, kernels: Kernels, checks: tuple[Check, ...]) -> Library:
        """Build a shared library."""
        plan, folder = kernels.plan, _find_folder(self._options, self._settings)
        checked = self._settings.checks_kernels
        path = build_program(
            plan, dict(kernels.kernels), toolchain=self._toolchain, cache_directory=folder, checked=checked, report=report_progress
        )
        symbols = tuple(symbol.name for symbol in plan.symbols)
        return Library(path, plan.externals, symbols, plan.arena, _count_instances(kernels), checks)


class TritonMaker:
    """Makes libraries of Triton kernels, for the GPU that a device is, or that the options name for tensors on the CPU."""

    suffix = ".py"

    def __init__(self, device: torch.device, options: Options, settings: Settings) -> None:
        self._gpu = find_gpu(options.target, device)
        self.target: Target = self._gpu
        self._printing = choose_options(options.precision)
        self._options = options
        self._settings = settings
        self.measure = find_measure(options, device, self._gpu, self._printing, _find_folder(options, settings))

    def print_kernel(self, kernel: Kernel) -> str:
        """The source of a kernel."""
        return triton_unit(kernel, self._printing).source

    def make(self, kernels: Kernels, checks: tuple[Check, ...]) -> TritonLibrary:
        """Write the kernels down."""
        folder = _find_folder(self._options, self._settings)
        kernels_by_name, products = dict(kernels.kernels), dict(kernels.products)
        return plan_library(kernels.plan, kernels_by_name, products, checks, self._gpu, self._printing, folder)


def find_measure(options: Options, device: torch.device, gpu: Gpu, printing: TritonOptions, folder: Path) -> Measure | None:
    """What times kernels on a device, if the options want that and it can be."""
    if not options.tune or find_obstacle(device, interpret=False):
        return None
    from tcomp.stages.gpu_measure import GpuMeasurer  # noqa: PLC0415 (imports triton)

    return GpuMeasurer(gpu, printing, folder, Cuda(device))


def find_c_measure(options: Options, toolchain: Toolchain, settings: Settings) -> Measure | None:
    """What times kernels on this CPU, on as many threads as programs use, if the options want that."""
    if not options.tune:
        return None
    return Measurer(
        toolchain,
        _find_folder(options, settings),
        threads=options.threads or torch.get_num_threads(),
        flush_denormals=options.numerics != "strict",
        size=UNKNOWN_EXTENT,
        report=report_progress,
    )


def _count_instances(kernels: Kernels) -> int | None:
    counts = [instances(kernel) for _, kernel in kernels.kernels]
    return max(count.constant for count in counts) if all(count.is_constant for count in counts) else None


def _find_folder(options: Options, settings: Settings) -> Path:
    return settings.cache_dir / "kernels" if options.cache else _private_folder()


def _private_folder() -> Path:
    """A folder of this process alone, for programs that are not to be kept; removed at its end."""
    return Path(tempfile.mkdtemp(dir=private_folder()))
