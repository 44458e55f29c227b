"""A program as data: what runs in which order on which tensors, and how results meet the caller's.

    Program  = inputs, symbols, guards, stages, assertions, mutations, results
    Stage    = CompiledStage (one call into a library) | EagerStage (operators left to PyTorch)
    library  = Library (C) | TritonLibrary (kernels for a GPU, and the steps that start them)
    Operand  = Slot(index) | Constant(name)       slots: the flattened inputs, then what stages make
    Result   = Owned | Returned | View | Given    one per leaf of what the caller gets

Everything but eager stages can be written to a file and read back (tcomp.saved.archive).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch.utils._pytree import TreeSpec

from tcomp.codegen.triton.files import Resources
from tcomp.codegen.triton.kernel import TritonUnit
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Index
from tcomp.ir.plan import Place
from tcomp.ir.target import Gpu
from tcomp.program.sizes import Condition, TensorSpec


@dataclass(frozen=True, slots=True)
class Slot:
    """A value of this call: a flattened input or what a stage made."""

    index: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A parameter, buffer or lifted tensor, by its qualified name."""

    name: str


Operand: TypeAlias = Slot | Constant


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


@dataclass(frozen=True, slots=True)
class KernelReport:
    """One kernel: its source, the einsums it computes at its first call, why they are one kernel, and how often it is called."""

    name: str
    kind: str
    source: str
    einsums: tuple[tuple[str, str], ...]
    """(name, text)."""
    origins: tuple[str, ...]
    """Module paths and lines that the einsums come from."""
    why: str
    loops: str
    """The schedule: tiles, order of loops, parallel ranks, lanes."""
    calls: int
    is_prelude: bool
    """Whether it runs when weights change, not at every call."""


@dataclass(frozen=True, slots=True)
class KernelUse:
    """What a kernel uses of a GPU when it runs: `instances` of so many warps, several of which share a multiprocessor."""

    resources: Resources
    instances: str
    """A number, or an index over symbols."""
    warps: int
    stages: int
    occupancy: float
    """The share of a multiprocessor's warps that are in use."""


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a compiled stage was made from, as text."""

    cascade: str
    """As captured; comments tell where the einsums come from."""
    optimised: str
    """After all passes: what runs when weights change, if anything does, and what runs on every call."""
    einsums: tuple[int, int]
    """How many were captured, and how many are left."""
    schedule: str
    plan: str
    kernels: tuple[KernelReport, ...]


@dataclass(frozen=True, slots=True)
class CompiledStage:
    """A part of the graph that runs in one call.

    `main` runs on every call; `prelude`, if weights are packed or folded, when they change, into the buffers `folded`.
    """

    sources: Mapping[str, Operand]
    """Cascade inputs by name."""
    folded: Mapping[str, int]
    """Bytes of the buffers that the prelude fills."""
    results: tuple[tuple[str, int, TensorSpec], ...]
    """External of `main`, the slot it fills, and the tensor to allocate."""
    specs: Mapping[str, TensorSpec]
    """What memory the inputs are expected to have."""
    prelude: AnyLibrary | None
    main: AnyLibrary | None
    report: Callable[[], StageReport]


@dataclass(frozen=True, slots=True)
class EagerCall:
    """One operator left to PyTorch; nodes among its arguments are operands, symbolic sizes indices."""

    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    slot: int
    name: str
    source: str
    reason: str
    """Why it was not compiled; empty for an operator that only goes with another."""
    frees: tuple[int, ...] = ()
    """Slots that nothing reads after this call."""


@dataclass(frozen=True, slots=True)
class EagerStage:
    """Operators left to PyTorch, in order."""

    calls: tuple[EagerCall, ...]


Stage: TypeAlias = CompiledStage | EagerStage


@dataclass(frozen=True, slots=True)
class Owned:
    """A tensor that owns its memory, with the given strides; copied if what the operand holds is not such a one."""

    operand: Operand
    spec: TensorSpec
    is_fresh: bool
    """Whether a compiled stage allocated it for this result."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The operand itself."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Replay:
    """One view operator to apply again: of several results the one at `index`; symbolic sizes are indices."""

    operator: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    index: int | None


@dataclass(frozen=True, slots=True)
class View:
    """A view of an input or constant (`of`), or of another result (`of` is its number)."""

    of: Operand | int
    steps: tuple[Replay, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """A Python value, or a size over the symbols."""

    value: Any


@dataclass(frozen=True, slots=True)
class Assertion:
    """A number that is to be true when all stages have run; else nothing is written or returned, and the error says `what`."""

    operand: Operand
    what: str
    where: str


Result: TypeAlias = Owned | Returned | View | Given


@dataclass(frozen=True, slots=True)
class SymbolSource:
    """A symbolic size: the dimension `dim` of an input, or the input itself where `dim` is None; and the range served."""

    input: int
    dim: int | None
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Program:
    """A module, or a graph of one, compiled for one kind of input."""

    device: torch.device
    """Where its tensors are."""
    inputs: tuple[TensorSpec | Given, ...]
    in_spec: TreeSpec | None
    out_spec: TreeSpec | None
    symbols: Mapping[str, SymbolSource]
    guards: tuple[Condition, ...]
    offsets: Mapping[int, int]
    """Where in their storage the flattened inputs begin of which the storage itself is read."""
    constants: Mapping[str, TensorSpec]
    mutated: frozenset[str]
    """Constants that the program itself writes."""
    moved: frozenset[str]
    """Constants on the CPU, of which a program on a GPU keeps copies there."""
    stages: tuple[Stage, ...]
    assertions: tuple[Assertion, ...]
    mutations: tuple[tuple[Operand, Operand], ...]
    """(what is written, its new value)."""
    results: tuple[Result, ...]
    slots: int
