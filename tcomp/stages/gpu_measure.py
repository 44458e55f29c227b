"""Times kernels on the GPU that is there, to choose among several that compute the same. Imports Triton."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tcomp.codegen.checks import program_checks
from tcomp.codegen.launch import plan_alone
from tcomp.codegen.timing import choose_sizes
from tcomp.codegen.triton.build import Launcher
from tcomp.codegen.triton.kernel import TritonOptions
from tcomp.ir.errors import TcompError
from tcomp.ir.plan import MatrixProduct
from tcomp.ir.target import Gpu
from tcomp.ir.tile import Argument, Kernel, span_elements
from tcomp.machine.cuda import Cuda
from tcomp.passes.choose import Trial
from tcomp.program.kernels import Check, TritonLibrary
from tcomp.program.sizes import make_evaluator
from tcomp.progress import report_progress
from tcomp.runtime.gpu.device import DeviceProgram, Loader
from tcomp.runtime.gpu.layout import Layouts
from tcomp.runtime.gpu.runner import make_loader
from tcomp.stages.gpu_plan import plan_library
from tcomp.torch_types import TORCH_DTYPES

TYPICAL_SIZE = 1024
"""What a symbol is taken to be, as far as its range allows."""


def time_kernel(launcher: Launcher, arguments: Sequence[int], instances: int, cuda: Cuda) -> float:
    """Seconds that a kernel takes for these arguments (addresses and integers), caches cold."""
    return cuda.measure(lambda: launcher(instances, cuda.find_stream(), arguments))


class GpuMeasurer:
    """Measures kernels on made-up data, equal ones once; what does not compile or fit takes forever."""

    def __init__(
        self,
        target: Gpu,
        options: TritonOptions,
        cache_directory: Path,
        cuda: Cuda,
        load: Callable[[TritonLibrary, Cuda], Loader] = make_loader,
    ) -> None:
        self._target = target
        self._options = options
        self._folder = cache_directory
        self._cuda = cuda
        self._load = load
        self._known: dict[tuple[Kernel, MatrixProduct | None], float] = {}

    def __call__(self, trials: Sequence[Trial]) -> list[float]:
        """Seconds that each kernel takes, or PyTorch's library for the product in its place; infinite for one that cannot run."""
        return [self._find_time(kernel, product) for kernel, product in trials]

    def _find_time(self, kernel: Kernel, product: MatrixProduct | None) -> float:
        key = replace(kernel, name="kernel"), product
        known = self._known.get(key)
        if known is None:
            try:
                known = self._measure(kernel, product)
            except (TcompError, RuntimeError):
                # The compiler, the driver and the libraries say so where a candidate asks too much; another one will do.
                known = math.inf
            self._known[key] = known
            report_progress(f"measured {kernel.name}", len(self._known), len(self._known))
        return known

    def _measure(self, kernel: Kernel, product: MatrixProduct | None) -> float:
        plan = plan_alone(kernel)
        products = {} if product is None else {kernel.name: product}
        checks = tuple(Check(check.tensor, kernel.name, check.extent) for check in program_checks(plan, {kernel.name: kernel}))
        library = plan_library(plan, {kernel.name: kernel}, products, checks, self._target, self._options, self._folder)
        values = choose_sizes(kernel.symbols, TYPICAL_SIZE)
        symbols, sizes = tuple(values), tuple(values.values())
        program = DeviceProgram(library, self._cuda, self._load(library, self._cuda), lambda snapshot: (), is_recorded=False)
        externals = [(number, self._draw(argument, symbols, sizes)) for number, argument in enumerate(kernel.arguments)]
        return program.measure(externals, Layouts(library, symbols).read(sizes))

    def _draw(self, argument: Argument, symbols: tuple[str, ...], sizes: tuple[int, ...]) -> Tensor:
        """Memory for an argument: numbers around zero, or indices that are right anywhere."""
        (reach,) = make_evaluator(symbols, (span_elements(argument.shape, argument.strides),))(sizes)
        dtype, device = TORCH_DTYPES[argument.dtype], self._cuda.device
        if not dtype.is_floating_point:
            return torch.zeros(reach, dtype=dtype, device=device)
        return torch.randn(reach, generator=torch.Generator(device).manual_seed(0), device=device).to(dtype)
