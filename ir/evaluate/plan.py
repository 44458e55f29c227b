"""The meaning of a plan, executed: its kernels one by one on bytes, through the evaluator of tile programs.

It is the oracle of drivers and of arena placement: kernels see the memory that the plan's places say, so a tensor placed over
another that a later kernel reads gives wrong numbers here as it would in C.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from tcomp.ir.dtypes import DType, bf16, e4m3, e5m2
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import Array, storage
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.expressions import Index
from tcomp.ir.expressions import as_index as number
from tcomp.ir.plan import ARENA, Plan
from tcomp.ir.tile import Argument, Kernel, span_bytes
from tcomp.ir.walk import index_variables, substitute_index


def evaluate_plan(
    plan: Plan, kernels: Mapping[str, Kernel], externals: Mapping[str, Array], symbols: Mapping[str, int] | None = None
) -> None:
    """Run a plan on external memory, one writable array of bytes (uint8) for each external tensor.

    Raises VerifyError for a kernel or external that is missing, a place outside its memory, and what `evaluate_kernel` refuses.
    """
    values = dict(symbols or {})
    memory = dict(externals)
    for name in plan.externals:
        if name not in memory:
            raise VerifyError(f"external {name} has no memory", where="plan", help="pass an array of bytes for every external")
    memory[ARENA] = numpy.full(_value(plan.arena, values), 0xFF, numpy.uint8)
    for step in plan.steps:
        kernel = kernels.get(step.kernel)
        if kernel is None:
            raise VerifyError(f"there is no kernel {step.kernel}", where="plan", help="pass every kernel that the plan calls")
        arrays: dict[str, Array] = {}
        for argument, place in zip(kernel.arguments, step.places, strict=True):
            start, size = _value(place.offset, values), _reach(argument, values)
            base = memory[place.base]
            if start < 0 or start + size > base.size:
                raise VerifyError(
                    f"{argument.name} takes bytes {start} to {start + size} of {place.base}, which has {base.size}",
                    where=f"step of {step.kernel}",
                )
            arrays[argument.name] = _decode(base[start : start + size], argument.dtype)
        used = {symbol.name: values[symbol.name] for symbol in kernel.symbols}
        evaluate_kernel(kernel, arrays, used)
        for argument, place in zip(kernel.arguments, step.places):
            if argument.role != "in":
                start = _value(place.offset, values)
                data = _encode(arrays[argument.name], argument.dtype)
                memory[place.base][start : start + data.size] = data


def _value(index: Index, symbols: Mapping[str, int]) -> int:
    value = substitute_index(index, {name: number(symbols[name]) for name in index_variables(index)})
    assert value.is_constant, f"{index} is not over symbols"
    return value.constant


def _reach(argument: Argument, symbols: Mapping[str, int]) -> int:
    """Bytes from the first element of an argument to the end of its last."""
    shape, strides = ([number(_value(size, symbols)) for size in sizes] for sizes in (argument.shape, argument.strides))
    return span_bytes(argument.dtype, shape, strides).constant


_FIELDS = {bf16: (8, 7, 127), e4m3: (4, 3, 7), e5m2: (5, 2, 15)}
"""Types that numpy lacks: bits of exponent and mantissa, and the exponent's bias."""


def _decode(data: Array, dtype: DType) -> Array:
    """Elements from bytes, as the evaluator holds them."""
    if dtype == bf16:
        return (data.view(numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)
    if dtype in _FIELDS:
        return _small_floats(dtype)[data]
    return data.view(storage(dtype)).copy()


def _encode(values: Array, dtype: DType) -> Array:
    """Bytes from elements."""
    if dtype == bf16:
        return (values.view(numpy.uint32) >> 16).astype(numpy.uint16).view(numpy.uint8)
    if dtype in _FIELDS:
        table = _small_floats(dtype)
        # Elements are values of the type, so each is in the table; zeros and NaN are told apart by their bits.
        codes = {value.tobytes(): code for code, value in enumerate(table) if value == value}
        nan = int(numpy.flatnonzero(numpy.isnan(table))[0])
        return numpy.array([codes.get(value.tobytes(), nan) for value in values], numpy.uint8)
    return values.view(numpy.uint8)


def _small_floats(dtype: DType) -> Array:
    """The value of each of the 256 bytes of a type."""
    exponent_bits, mantissa_bits, bias = _FIELDS[dtype]
    codes = numpy.arange(256)
    sign = numpy.where(codes >> 7, -1.0, 1.0)
    exponent = (codes >> mantissa_bits) & (2**exponent_bits - 1)
    mantissa = codes & (2**mantissa_bits - 1)
    normal = (1 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias)
    values: Array = sign * numpy.where(exponent == 0, mantissa / 2**mantissa_bits * 2.0 ** (1 - bias), normal)
    top = exponent == 2**exponent_bits - 1
    if dtype == e4m3:
        values[top & (mantissa == 2**mantissa_bits - 1)] = numpy.nan
    else:
        values[top] = numpy.where(mantissa[top] == 0, sign[top] * numpy.inf, numpy.nan)
    return numpy.asarray(values, numpy.float32)
