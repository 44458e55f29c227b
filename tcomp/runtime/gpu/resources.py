"""What the kernels of a Triton library use of a GPU: found by compiling them, for which no GPU is needed. Imports Triton."""

from __future__ import annotations

import functools

from tcomp.codegen.launch import instances
from tcomp.codegen.triton.build import read_resources
from tcomp.codegen.triton.files import measure_occupancy
from tcomp.codegen.triton.module import load_functions
from tcomp.ir.errors import ToolchainError
from tcomp.ir.expressions import print_index
from tcomp.program.kernels import TritonLibrary
from tcomp.program.reports import KernelUse
from tcomp.runtime.gpu.variants import compile_variants, list_variants

MOST_LIBRARIES = 64
"""Libraries whose kernels' use is remembered."""


@functools.lru_cache(MOST_LIBRARIES)
def find_uses(library: TritonLibrary) -> dict[str, KernelUse | ToolchainError]:
    """What each kernel uses, by every name that the plan has for it, or why that is not known."""
    functions = [load_functions(kernel.path, "jit")[kernel.unit.symbol] for kernel in library.kernels]
    # Where a kernel is called in several ways, that with the widest loads stands for all.
    variants = sorted(list_variants(library), key=lambda variant: (variant[0], len(variant[1])))
    first = list({number: (number, unaligned) for number, unaligned in reversed(variants)}.values())
    uses: dict[str, KernelUse | ToolchainError] = {}
    for (number, _), compiled in zip(first, compile_variants(library, functions, first)):
        kernel = library.kernels[number]
        uses.update(dict.fromkeys(kernel.names, compiled if isinstance(compiled, ToolchainError) else _read_use(library, number, compiled)))
    return uses


def _read_use(library: TritonLibrary, number: int, compiled: object) -> KernelUse | ToolchainError:
    tile = library.kernels[number].unit.kernel
    try:
        resources = read_resources(compiled, library.target)
    except ToolchainError as error:
        return error
    occupancy = measure_occupancy(resources, tile.warps, library.target)
    return KernelUse(resources, print_index(instances(tile)), tile.warps, tile.stages, occupancy)
