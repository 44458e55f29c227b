"""The memory of the tile program's evaluator: it knows its bounds, and which parallel instance touched which element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy
from numpy.lib.stride_tricks import as_strided

from tcomp.ir.dtypes import DType
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import Array, storage
from tcomp.ir.evaluate.expressions import OutsideError, read_array
from tcomp.ir.expressions import Number, as_index
from tcomp.ir.tile import Argument, span_elements

Positions: TypeAlias = tuple[Array, ...]

NOBODY = -1
SEVERAL = -2
ATOMIC = -3
"""Any number of instances, each in one step."""


class RaceError(Exception):
    """Two parallel instances, or two points of a statement, touch one element; the evaluator says where."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """For an argument that is written: the address of each element, and per address the instance that wrote or read it."""

    addresses: Array
    writers: Array
    readers: Array

    def note_read(self, name: str, positions: Positions, instance: int) -> None:
        """Record reads; raises RaceError if another instance wrote one of the elements."""
        touched = self.addresses[positions]
        writers = self.writers[touched]
        if ((writers != NOBODY) & (writers != instance)).any():
            raise RaceError(f"reads an element of {name} that another parallel instance writes")
        readers = self.readers[touched]
        self.readers[touched] = numpy.where((readers == NOBODY) | (readers == instance), instance, SEVERAL)

    def note_write(self, name: str, positions: Positions, instance: int, is_atomic: bool) -> None:
        """Record writes; raises RaceError if another instance touched one of the elements, unless both did so in one step."""
        touched = self.addresses[positions]
        for others, verb in ((self.writers[touched], "writes"), (self.readers[touched], "reads")):
            if ((others != NOBODY) & (others != instance) & ~(is_atomic & (others == ATOMIC))).any():
                raise RaceError(f"writes an element of {name} that another parallel instance {verb}")
        alone = self.writers[touched] == instance
        self.writers[touched] = numpy.where(alone, instance, ATOMIC) if is_atomic else instance


@dataclass(frozen=True, slots=True)
class Memory:
    """What a name stands for: an argument, a buffer or a block."""

    dtype: DType
    values: Array
    ledger: Ledger | None = None

    def read(self, name: str, positions: Positions, outside: Number | None, instance: int) -> Array:
        """The elements at broadcast positions; raises OutsideError beyond the bounds if no outside value is stated."""
        try:
            values = read_array(self.values, positions, outside)
        except OutsideError as error:
            raise OutsideError(f"{name}: {error}") from error
        if self.ledger is not None:
            wide = tuple(numpy.broadcast_arrays(*positions))
            inside = _find_inside(wide, self.values.shape)
            self.ledger.note_read(name, tuple(p[inside] for p in wide), instance)
        return values

    def check_write(self, name: str, positions: Positions, instance: int, is_atomic: bool = False) -> None:
        """Raises OutsideError if a position is beyond the bounds, RaceError if another instance touched the element.

        Atomic writes may meet each other, and nothing else: what else saw or made the element would depend on the order.
        """
        inside = _find_inside(positions, self.values.shape)
        if not inside.all():
            point = ", ".join(str(p[~inside][0]) for p in positions)
            raise OutsideError(f"{name}: writes [{point}] of a tensor of shape {list(self.values.shape)}")
        if self.ledger is not None:
            self.ledger.note_write(name, positions, instance, is_atomic)


def make_memory(dtype: DType, shape: tuple[int, ...], float64: bool) -> Memory:
    """Memory that nobody wrote: NaN, or integers that are garbage."""
    values = numpy.empty(shape, storage(dtype, float64))
    poison(values)
    return Memory(dtype, values)


def poison(values: Array) -> None:
    """Fill an array with values that nobody should read, the same in every run."""
    if values.dtype.kind == "f":
        values[...] = numpy.nan
    else:
        values[...] = numpy.random.default_rng(0).integers(0, 2 if values.dtype.kind == "b" else 127, values.shape)


def bind_argument(argument: Argument, shape: tuple[int, ...], strides: tuple[int, ...], array: Array, float64: bool) -> Memory:
    """The memory of an argument with the given shape and strides (in elements): an array of that shape, or flat memory."""
    expected = storage(argument.dtype, float64)
    if array.dtype != expected:
        raise VerifyError(
            f"argument {argument.name} is {argument.dtype} and its array {array.dtype}", help=f"pass an array of {expected}"
        )
    view, addresses = array, numpy.arange(array.size).reshape(array.shape)
    if array.shape != shape:
        reach = span_elements(*(tuple(map(as_index, sizes)) for sizes in (shape, strides))).constant
        if array.ndim != 1 or reach > array.size or min(strides, default=0) < 0 or not array.flags.c_contiguous:
            raise VerifyError(
                f"argument {argument.name} has shape {list(shape)} and strides {list(strides)}, "
                f"its array has shape {list(array.shape)}",
                help="pass an array of the argument's shape, or flat memory that its strides stay within",
            )
        view = as_strided(array, shape, [s * array.itemsize for s in strides])
        addresses = as_strided(addresses, shape, [s * addresses.itemsize for s in strides])
    if argument.role == "out":
        poison(view)
    if argument.role == "in":
        return Memory(argument.dtype, view)
    return Memory(argument.dtype, view, Ledger(addresses, numpy.full(array.size, NOBODY), numpy.full(array.size, NOBODY)))


def _find_inside(positions: Positions, shape: tuple[int, ...]) -> Array:
    inside = numpy.ones(positions[0].shape if positions else (), bool)
    for position, extent in zip(positions, shape, strict=True):
        inside &= (position >= 0) & (position < extent)
    return inside
