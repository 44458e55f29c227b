"""How numpy arrays hold each element type, and the conversions between them.

bf16, e4m3 and e5m2 have no numpy type: float32 arrays hold them, every element rounded to the type. The float64 oracle holds
every float as float64 and rounds nothing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy

from tcomp.ir.dtypes import DType

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
    match dtype.name:
        case "f16":
            with numpy.errstate(over="ignore", under="ignore"):
                return array.astype(numpy.float16)
        case "bf16":
            bits = array.astype(numpy.float32, copy=False).view(numpy.uint32)
            rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) & 0xFFFF0000
            return numpy.where(numpy.isnan(array), numpy.float32(numpy.nan), rounded.astype(numpy.uint32).view(numpy.float32))
        case "e4m3":
            return _round_to_grid(array, mantissa=3, lowest_exponent=-6, largest=448.0, beyond=448.0)
        case "e5m2":
            return _round_to_grid(array, mantissa=2, lowest_exponent=-14, largest=57344.0, beyond=numpy.inf)
        case _:
            return array


def _round_to_grid(array: Array, mantissa: int, lowest_exponent: int, largest: float, beyond: float) -> Array:
    wide = array.astype(numpy.float64)
    finite = numpy.isfinite(wide)
    exponent = numpy.frexp(numpy.where(finite, wide, 0.0))[1] - 1
    step = numpy.ldexp(1.0, numpy.maximum(exponent, lowest_exponent) - mantissa)
    rounded = numpy.where(finite, numpy.rint(wide / step) * step, wide)
    too_large = numpy.abs(rounded) > largest  # false for NaN, which stays
    return numpy.where(too_large, numpy.copysign(beyond, wide), rounded).astype(numpy.float32)
