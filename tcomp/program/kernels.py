"""Kernels of a stage as data: libraries of C, modules of Triton, and the steps that call them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tcomp.codegen.triton.kernel import TritonUnit
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Index
from tcomp.ir.plan import Place
from tcomp.ir.target import Gpu


@dataclass(frozen=True, slots=True)
class Check:
    """An index that is data and must be at least 0 and less than `extent`: what it is an index into, and where in the model."""

    into: str
    where: str
    extent: Index


@dataclass(frozen=True, slots=True)
class Library:
    """A built plan: its shared library, and what the library expects."""

    path: Path
    externals: tuple[str, ...]
    symbols: tuple[str, ...]
    arena: Index
    """Bytes."""
    most_threads: int | None
    """How many threads find work in any of its kernels; None if that depends on symbols."""
    checks: tuple[Check, ...]
    """What `tcomp_run` found outside its range: it returns the number of the check, counted from 1."""


@dataclass(frozen=True, slots=True)
class TritonKernel:
    """A kernel for a GPU: the names that the plan has for it, and the Python module that holds its function."""

    names: tuple[str, ...]
    unit: TritonUnit
    path: Path


@dataclass(frozen=True, slots=True)
class KernelStep:
    """Start the kernel of that number in `grid` instances; places in the order of its arguments."""

    kernel: int
    places: tuple[Place, ...]
    grid: Index
    first_check: int
    """Its first check's number among those of the library."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor somewhere in an external tensor or the arena; strides are in elements."""

    place: Place
    dtype: DType
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]


LibraryOperation: TypeAlias = Literal["mm", "addmm", "bmm", "baddbmm"]


@dataclass(frozen=True, slots=True)
class LibraryStep:
    """Have PyTorch's libraries compute: torch.OPERATION(*operands, out=out), at the precision that PyTorch has been told to use.

    `name` is what the plan calls it.
    """

    name: str
    operation: LibraryOperation
    operands: tuple[TensorPlace, ...]
    out: TensorPlace


TritonStep: TypeAlias = KernelStep | LibraryStep


@dataclass(frozen=True, slots=True)
class TritonLibrary:
    """A plan for a GPU: its kernels, as source, and what runs in which order on which memory."""

    kernels: tuple[TritonKernel, ...]
    steps: tuple[TritonStep, ...]
    externals: tuple[str, ...]
    symbols: tuple[str, ...]
    arena: Index
    """Bytes."""
    checks: tuple[Check, ...]
    """A failed check stores 1 at its number in the array of faults."""
    target: Gpu
    precision: str
    """How f32 matrices are multiplied, as in TritonOptions."""


AnyLibrary: TypeAlias = Library | TritonLibrary
