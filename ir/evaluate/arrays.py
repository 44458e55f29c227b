"""How numpy arrays hold each element type, and the conversions between them.

bf16, e4m3 and e5m2 are no types of numpy's own: float32 arrays hold them, every element rounded to the type; `ml_dtypes` knows how,
and what their bytes are. The float64 oracle holds every float as float64 and rounds nothing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy

from tcomp.ir.dtypes import DType, e4m3

Array: TypeAlias = numpy.ndarray[Any, Any]

_STORAGE = {
    "f64": numpy.float64,
    "f32": numpy.float32,
    "f16": numpy.float16,
    "bf16": numpy.float32,
    "e4m3": numpy.float32,
    "e5m2": numpy.float32,
    "i64": numpy.int64,
    "i32": numpy.int32,
    "i16": numpy.int16,
    "i8": numpy.int8,
    "u8": numpy.uint8,
    "bool": numpy.bool_,
}

_NARROW = {"bf16": ml_dtypes.bfloat16, "e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}

LARGEST_E4M3 = 448.0


def storage(dtype: DType, float64: bool = False) -> numpy.dtype[Any]:
    """The numpy dtype that holds elements of `dtype`."""
    return numpy.dtype(numpy.float64 if float64 and dtype.is_float else _STORAGE[dtype.name])


def convert(array: Array, source: DType, target: DType, float64: bool = False) -> Array:
    """Convert an array that holds `source` to one that holds `target`, with the meaning of a Cast.

    Float to integer truncates toward zero, integers wrap, bool is `x != 0`; a conversion to a narrow float goes through f32.
    """
    if source == target:
        return array.astype(storage(target, float64), copy=False)
    with numpy.errstate(all="ignore"):
        if target.kind == "bool":
            return numpy.asarray(array != 0)
        if target.kind == "int":
            whole = numpy.trunc(array).astype(numpy.int64) if source.is_float else array
            return whole.astype(storage(target))
        if float64:
            return array.astype(numpy.float64)
        if target.bits >= 32:
            return array.astype(storage(target))
        return round_float(array.astype(numpy.float32), target)


def round_float(array: Array, dtype: DType) -> Array:
    """Round float32 elements to the narrow float `dtype`, to nearest even; f32 and f64 are returned as they are."""
    if not dtype.is_float or dtype.bits >= 32:
        return array
    with numpy.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _saturated(array, dtype).astype(memory_type(dtype)).astype(storage(dtype))


def round_number(number: float, dtype: DType) -> float:
    """Round one number to a narrow float, through f32 as all conversions go; other types leave it as it is."""
    if not dtype.is_float or dtype.bits >= 32:
        return number
    with numpy.errstate(over="ignore"):
        return float(round_float(numpy.asarray(number, numpy.float32), dtype))


def encode(array: Array, dtype: DType) -> Array:
    """The bytes of elements, which are values of their type; of one axis."""
    return array.astype(memory_type(dtype)).view(numpy.uint8)


def decode(data: Array, dtype: DType) -> Array:
    """Elements, as `storage` holds them, from their bytes."""
    return data.view(memory_type(dtype)).astype(storage(dtype))


def memory_type(dtype: DType) -> numpy.dtype[Any]:
    """The numpy dtype whose elements have the bytes of `dtype`."""
    found: numpy.dtype[Any] = numpy.dtype(_NARROW.get(dtype.name, _STORAGE[dtype.name]))
    return found


def _saturated(array: Array, dtype: DType) -> Array:
    """What is too large for e4m3 has its largest number; NaN stays."""
    return numpy.asarray(numpy.clip(array, -LARGEST_E4M3, LARGEST_E4M3)) if dtype == e4m3 else array
