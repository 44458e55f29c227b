"""Kernels compiled for the alignment of what they are given. Imports Triton."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tcomp.codegen.triton.build import compile_all
from tcomp.ir.errors import ToolchainError
from tcomp.program.kernels import KernelStep, TritonLibrary
from tcomp.progress import report_progress
from tcomp.runtime.gpu.layout import is_multiple

ALIGNED = 16
"""Bytes: kernels are compiled for pointers that are divisible by this, unless one is not."""

Variant: TypeAlias = tuple[int, frozenset[str]]
"""A kernel's number, and its parameters whose pointers may not be divisible."""


def make_variant(library: TritonLibrary, kernel: int, unaligned: Iterable[int]) -> Variant:
    """A kernel for arguments of which those with the given numbers may be at any address."""
    parameters = library.kernels[kernel].unit.parameters
    return kernel, frozenset(parameters[number].name for number in unaligned)


def list_variants(library: TritonLibrary) -> list[Variant]:
    """The variants that the steps call when all externals begin at addresses that are divisible."""
    steps = [step for step in library.steps if isinstance(step, KernelStep)]
    unaligned = [[n for n, place in enumerate(step.places) if not is_multiple(place.offset, ALIGNED)] for step in steps]
    return list(dict.fromkeys(make_variant(library, step.kernel, numbers) for step, numbers in zip(steps, unaligned)))


def compile_variants(library: TritonLibrary, functions: Sequence[Any], variants: Sequence[Variant]) -> list[Any | ToolchainError]:
    """Compile kernels of a library, whose functions are given; returns Triton's compiled kernels, or why one is not. Needs no GPU."""

    def report(name: str, done: int, total: int) -> None:
        report_progress(f"compiled {name}", done, total)

    compilations = [(functions[number], library.kernels[number].unit, unaligned) for number, unaligned in variants]
    if not compilations:
        return []
    return compile_all(compilations, library.target, find_cache(library), report)


def find_cache(library: TritonLibrary) -> Path:
    """The folder of the cache that a library with kernels was written to: its entries lie in folders there."""
    return library.kernels[0].path.parent.parent
