"""Where tensors, buffers and blocks are, and the C that reads and writes them at a resolved index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tcomp.codegen.c.index import LANE, Resolved, lane_code, lane_dtype, scalar_code
from tcomp.codegen.c.tree import Call, CExpression, CStatement, Evaluate, Name, Set, Subscript, add, call
from tcomp.codegen.c.types import VECTOR_TYPES, Value, storage_of
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Index
from tcomp.ir.index import Bounds


@dataclass(frozen=True, slots=True)
class Register:
    """A block held in C variables: vectors along its last axis, or scalars."""

    name: str
    dtype: DType
    sizes: tuple[int, ...]
    is_vector: bool

    def variable(self, point: tuple[int, ...]) -> str:
        """The variable that holds an element, or the vector that starts with it."""
        return "_".join([self.name, *map(str, point)])


@dataclass(frozen=True, slots=True)
class Memory:
    """An array: an argument, a buffer, or a block that is indexed in ways registers are not. Strides are in elements."""

    name: str
    dtype: DType
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]


Home: TypeAlias = Register | Memory


@dataclass(frozen=True, slots=True)
class Pointer:
    """`base + offset`."""

    base: str
    offset: CExpression

    @property
    def code(self) -> CExpression:
        """The pointer."""
        return add(Name(self.base), self.offset)

    @property
    def element(self) -> CExpression:
        """What it points to."""
        return Subscript(Name(self.base), self.offset)


@dataclass(frozen=True, slots=True)
class Address:
    """An element, or the elements of all lanes, of one array."""

    memory: Memory
    at: Resolved
    names: Mapping[str, str]
    bounds: Bounds

    @property
    def stride(self) -> Index | None:
        """Elements from one lane to the next; zero if the address is the same in all lanes, None if there is no one stride."""
        return self.at.stride

    def only(self) -> Pointer:
        """The element of an address without lanes."""
        return Pointer(self.memory.name, self._scalar(self.at.index))

    def first(self) -> Pointer:
        """The element of lane 0 where lanes have a stride."""
        return Pointer(self.memory.name, self._scalar(self.at.same))

    def of_lane(self, lane: str) -> Pointer:
        """The element of the lane that a C variable counts."""
        return Pointer(self.memory.name, self._scalar(self.at.index, lane))

    def lanes(self) -> tuple[Pointer, Value]:
        """A pointer, and the offsets from it in every lane, i32 or i64."""
        same, varying = self.at.same, self.at.varying
        dtype = lane_dtype(varying, self.at.values, self.bounds)
        offsets = lane_code(varying, self.names, self.bounds, self.at.values, dtype)
        return Pointer(self.memory.name, self._scalar(same)), offsets

    def _scalar(self, index: Index, lane: str = "") -> CExpression:
        codes: dict[str, CExpression] = {}
        for name, value in self.at.values.items():
            codes[name] = Subscript(value.code, Name(lane)) if value.is_vector else value.code
        if lane:
            codes[LANE] = Name(lane)
        return scalar_code(index, self.names, self.bounds, codes)


def read_scalar(pointer: Pointer, dtype: DType) -> CExpression:
    """Read one element."""
    storage = storage_of(dtype)
    if storage.suffix and dtype.is_float:
        return call(f"tcomp_load_f32{storage.suffix}", pointer.code)
    return pointer.element


def write_scalar(pointer: Pointer, code: CExpression, dtype: DType) -> CStatement:
    """Write one element, rounding or wrapping it."""
    storage = storage_of(dtype)
    if storage.suffix and dtype.is_float:
        return Evaluate(call(f"tcomp_store_f32{storage.suffix}", pointer.code, code))
    return Set(pointer.element, code)


def read_vector(pointer: Pointer, dtype: DType, count: CExpression | None) -> CExpression:
    """Read neighbouring elements: all lanes, or the first `count`."""
    storage = storage_of(dtype)
    part = "" if count is None else "part_"
    arguments = (pointer.code,) if count is None else (pointer.code, count)
    return Call(f"tcomp_load_{part}{VECTOR_TYPES[storage.kind]}{storage.suffix}", arguments)


def write_vector(pointer: Pointer, code: CExpression, dtype: DType, count: CExpression | None) -> CStatement:
    """Write neighbouring elements, rounding or wrapping them: all lanes, or the first `count`."""
    storage = storage_of(dtype)
    part = "" if count is None else "part_"
    arguments = (pointer.code, code) if count is None else (pointer.code, code, count)
    return Evaluate(Call(f"tcomp_store_{part}{VECTOR_TYPES[storage.kind]}{storage.suffix}", arguments))
