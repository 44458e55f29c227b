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
from typing import Any, TypeAlias

import torch
from torch.utils._pytree import TreeSpec

from tcomp.ir.expressions import Index, print_index
from tcomp.program.kernels import AnyLibrary
from tcomp.program.reports import StageReport
from tcomp.program.sizes import Condition, TensorSpec
from tcomp.structure import Leaf, Made, Structure


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
    """A Python value, or a size over the symbols; of an input UNREAD if any will do."""

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
    in_spec: TreeSpec | Structure | None
    out_spec: TreeSpec | Structure | None
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


@dataclass(frozen=True, slots=True)
class Fallback:
    """An operator left to PyTorch: how often it is called, where it comes from, why, and its share of the time if measured."""

    operator: str
    count: int
    sources: tuple[str, ...]
    reason: str
    share: float | None = None


def list_fallbacks(program: Program) -> tuple[Fallback, ...]:
    """The operators that a program leaves to PyTorch."""
    found: dict[str, Fallback] = {}
    for stage in program.stages:
        for call in stage.calls if isinstance(stage, EagerStage) else ():
            if not call.reason:
                continue
            before = found.get(call.name)
            sources = tuple(dict.fromkeys((*(before.sources if before else ()), call.source)))
            found[call.name] = Fallback(call.name, before.count + 1 if before else 1, sources, call.reason)
    return tuple(found.values())


def describe_inputs(program: Program) -> str:
    """The inputs of a program in short: f32[2, 8]; of objects how many tensors they hold."""
    texts = [_describe_input(given) for given in program.inputs]
    structure = program.in_spec
    if not isinstance(structure, Structure):
        return ", ".join(texts)
    parts = []
    for item in structure.items:
        if isinstance(item, Leaf):
            parts.append(texts[item.index])
        elif isinstance(item, Made):
            count = sum(isinstance(program.inputs[index], TensorSpec) for index in structure.find_leaves([item]))
            parts.append(f"{structure.name_kind(item)} with {count} tensor{'' if count == 1 else 's'}")
    return ", ".join(parts)


def _describe_input(given: TensorSpec | Given) -> str:
    if isinstance(given, TensorSpec):
        return f"{str(given.dtype).removeprefix('torch.')}[{', '.join(map(str, given.shape))}]"
    return print_index(given.value) if isinstance(given.value, Index) else repr(given.value)
