"""The steps of a Triton library for given sizes: how many instances, and at which byte of which memory each tensor begins.

Memory is numbered: externals in order, then the arena (`ARENA`). A layout is made once for each set of sizes; a program of fixed sizes
has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

import torch
from torch import Tensor

from tcomp.ir.expressions import Index, as_index
from tcomp.ir.plan import ARENA as ARENA_NAME
from tcomp.ir.plan import Place
from tcomp.program.kernels import KernelStep, LibraryOperation, LibraryStep, TensorPlace, TritonLibrary
from tcomp.program.sizes import make_evaluator
from tcomp.torch_types import TORCH_DTYPES

ARENA = -1
"""The number of the arena among the memories."""
ALIGNMENT = 256
"""Bytes: where scratch memory begins, counted from the start of the arena, which is aligned likewise."""
MOST_LAYOUTS = 64
"""Sets of sizes remembered."""


@dataclass(frozen=True, slots=True)
class Address:
    """A byte of a memory; `is_aligned` if it is divisible by 16 wherever the memory is, for all sizes."""

    memory: int
    offset: int
    is_aligned: bool


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One start of a kernel."""

    kernel: int
    grid: int
    addresses: tuple[Address, ...]
    first_check: int


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor of a call into PyTorch's libraries."""

    address: Address
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LibraryCall:
    """One call of torch.OPERATION with its operands and `out`."""

    operation: LibraryOperation
    operands: tuple[Operand, ...]
    out: Operand


Call: TypeAlias = KernelCall | LibraryCall


@dataclass(frozen=True, slots=True)
class Layout:
    """All calls of a library for one set of sizes."""

    calls: tuple[Call, ...]
    arena: int
    """Bytes of the arena."""
    scratch: int
    """Bytes after it for what kernels keep to themselves."""
    symbols: dict[str, int]


class Layouts:
    """The layouts of a library, by sizes; `symbols` names those whose values are handed in."""

    def __init__(self, library: TritonLibrary, symbols: Sequence[str]) -> None:
        self._library = library
        self._numbers = {name: number for number, name in enumerate(library.externals)}
        self._indices: dict[Index, int] = {}
        for index in (library.arena, *map(as_index, library.symbols), *_list_indices(library)):
            self._indices.setdefault(index, len(self._indices))
        self._is_static = all(index.is_constant for index in self._indices)
        self._evaluate = make_evaluator(symbols, tuple(self._indices))
        self._known: dict[tuple[int, ...], Layout] = {}

    def read(self, sizes: tuple[int, ...]) -> Layout:
        """The layout for these values of the symbols."""
        sizes = () if self._is_static else sizes
        known = self._known.get(sizes)
        if known is None:
            if len(self._known) >= MOST_LAYOUTS:
                self._known.clear()
            known = self._known[sizes] = self._make(self._evaluate(sizes))
        return known

    def _make(self, values: Sequence[int]) -> Layout:
        def read(index: Index) -> int:
            return values[self._indices[index]]

        library, scratch = self._library, 0
        calls: list[Call] = []
        for step in library.steps:
            match step:
                case KernelStep(kernel, places, grid, first_check):
                    count = read(grid)
                    calls.append(KernelCall(kernel, count, tuple(self._locate(place, read) for place in places), first_check))
                    scratch = max(scratch, library.kernels[kernel].unit.scratch * count)
                case LibraryStep(_, operation, operands, out):
                    calls.append(LibraryCall(operation, tuple(self._place(o, read) for o in operands), self._place(out, read)))
                case _:
                    assert_never(step)
        return Layout(tuple(calls), read(library.arena), scratch, {name: read(as_index(name)) for name in library.symbols})

    def _locate(self, place: Place, read: Callable[[Index], int]) -> Address:
        memory = ARENA if place.base == ARENA_NAME else self._numbers[place.base]
        return Address(memory, read(place.offset), is_multiple(place.offset, 16))

    def _place(self, tensor: TensorPlace, read: Callable[[Index], int]) -> Operand:
        shape, strides = (tuple(map(read, part)) for part in (tensor.shape, tensor.strides))
        return Operand(self._locate(tensor.place, read), TORCH_DTYPES[tensor.dtype], shape, strides)


def _list_indices(library: TritonLibrary) -> Iterator[Index]:
    for step in library.steps:
        match step:
            case KernelStep(_, places, grid, _):
                yield grid
                yield from (place.offset for place in places)
            case LibraryStep(_, _, operands, out):
                for tensor in (*operands, out):
                    yield from (tensor.place.offset, *tensor.shape, *tensor.strides)
            case _:
                assert_never(step)


def is_multiple(index: Index, divisor: int) -> bool:
    """Whether an index is divisible by a number for all values of its variables."""
    return index.constant % divisor == 0 and all(coefficient % divisor == 0 for _, coefficient in index.terms)


def allocate(size: int, device: torch.device) -> Tensor:
    """Memory of that many bytes, aligned."""
    raw = torch.empty(size + ALIGNMENT, dtype=torch.uint8, device=device)
    start = -raw.data_ptr() % ALIGNMENT
    return raw[start : start + size]


def view_memory(
    memory: Tensor, offset: int, dtype: torch.dtype, shape: tuple[int, ...] | None = None, strides: tuple[int, ...] = (1,)
) -> Tensor:
    """A tensor over memory from a byte on; without a shape one of a single element, or of none where none has room."""
    storage = memory.untyped_storage()
    start = memory.storage_offset() * memory.element_size() + offset
    if shape is None:
        shape = (int(start + dtype.itemsize <= storage.nbytes()),)
    view = torch.empty(0, dtype=dtype, device=memory.device)
    return view.set_(storage, start // dtype.itemsize, shape, strides)


def call_library(call: LibraryCall, memories: Callable[[int], Tensor]) -> None:
    """Have PyTorch compute one call."""

    def view(operand: Operand) -> Tensor:
        return view_memory(memories(operand.address.memory), operand.address.offset, operand.dtype, operand.shape, operand.strides)

    _OPERATIONS[call.operation](*map(view, call.operands), out=view(call.out))


_OPERATIONS: dict[LibraryOperation, Callable[..., Tensor]] = {
    "mm": torch.mm,
    "addmm": torch.addmm,
    "bmm": torch.bmm,
    "baddbmm": torch.baddbmm,
}
