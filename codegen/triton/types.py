"""How element types appear in Triton, and values on their way through an expression."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tcomp.codegen.triton.tree import Binary, Literal, Name, TExpression, To, Tuple, call
from tcomp.ir.dtypes import DType, f32, i32
from tcomp.ir.expressions import Number

TRITON_TYPES = {
    "f64": "tl.float64", "f32": "tl.float32", "f16": "tl.float16", "bf16": "tl.bfloat16", "e4m3": "tl.float8e4nv",
    "e5m2": "tl.float8e5", "i64": "tl.int64", "i32": "tl.int32", "i16": "tl.int16", "i8": "tl.int8", "u8": "tl.uint8",
    "bool": "tl.int1",
}  # fmt: skip

POINTER_TYPES = {
    "f64": "*fp64", "f32": "*fp32", "f16": "*fp16", "bf16": "*bf16", "e4m3": "*fp8e4nv", "e5m2": "*fp8e5", "i64": "*i64",
    "i32": "*i32", "i16": "*i16", "i8": "*i8", "u8": "*u8", "bool": "*i1",
}  # fmt: skip
"""What a signature calls a pointer to each element type."""

RANGES = {
    "f16": (65504.0, -14, math.inf), "bf16": ((2 - 2.0**-7) * 2.0**127, -126, math.inf), "e4m3": (448.0, -6, 448.0),
    "e5m2": (57344.0, -14, math.inf),
}  # fmt: skip
"""The largest number of a narrow float, its lowest exponent, and what stands for numbers beyond."""

SMALLEST_NORMAL, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127


@dataclass(frozen=True, slots=True)
class Value:
    """A computed value of a statement: a scalar, or a tensor with a dimension for each axis of the statement.

    The dimensions of axes that are not in `axes` have length one. `depth` counts the loops that the value changes in, and `weight`
    the operations written into the code. A literal has no dtype in the code: it takes that of what it meets.
    """

    code: TExpression
    dtype: DType
    axes: frozenset[str] = frozenset()
    depth: int = 0
    weight: int = 0
    is_literal: bool = False


def triton_type(dtype: DType) -> Name:
    """The spelling of an element type."""
    return Name(TRITON_TYPES[dtype.name])


def literal(number: Number, dtype: DType) -> Value:
    """A literal, rounded to its dtype if that is a narrow float."""
    if dtype.is_float:
        return Value(Literal(_round_number(float(number), dtype)), dtype, is_literal=True)
    return Value(Literal(bool(number) if dtype.kind == "bool" else int(number)), dtype, is_literal=True)


def _round_number(number: float, dtype: DType) -> float:
    if dtype.bits >= 32 or number == 0 or math.isnan(number):
        return number
    largest, lowest, beyond = RANGES[dtype.name]
    if math.isfinite(number):
        exponent = max(math.frexp(number)[1] - 1, lowest)
        step = 2.0 ** (exponent - dtype.mantissa)
        number = round(number / step) * step
    return number if abs(number) <= largest else math.copysign(beyond, number)


def settle(value: Value) -> Value:
    """A literal with its dtype written out; other values as they are."""
    if not value.is_literal:
        return value
    return replace(value, code=call("tl.full", Tuple(()), value.code, triton_type(value.dtype)), is_literal=False)


def operand(value: Value) -> Value:
    """What to pass to a function where a value of this dtype is wanted: a literal stays bare if Triton takes it for that dtype."""
    if not value.is_literal or value.dtype.kind == "bool":
        return value
    assert isinstance(value.code, Literal)
    number = value.code.value
    if value.dtype == f32 and isinstance(number, float):
        is_usual = number == 0 or not math.isfinite(number) or SMALLEST_NORMAL <= abs(number) <= LARGEST
        return value if is_usual else settle(value)
    return value if value.dtype == i32 else settle(value)


def convert(value: Value, dtype: DType) -> Value:
    """The meaning of a Cast."""
    if value.dtype == dtype:
        return value
    if value.is_literal:
        value = settle(value)
    if value.dtype.is_float and value.dtype.bits == 8:
        # Triton converts these to floats only.
        value = replace(value, code=_to(value, value.code, f32), dtype=f32, weight=value.weight + 1)
    source, code = value.dtype, value.code
    if source == dtype:
        return value
    if dtype.kind == "bool":
        return replace(value, code=Binary("!=", code, Literal(0)), dtype=dtype, weight=value.weight + 1)
    if dtype.is_float and dtype.bits < 32:
        code = _narrow(code if source == f32 else _to(value, code, f32), value, dtype)
    elif dtype.is_int and dtype.bits < 32 and source.is_float:
        # Beyond the range the result wraps, as the evaluator's does.
        code = _to(value, _to(value, code, i32), dtype)
    else:
        code = _to(value, code, dtype)
    return replace(value, code=code, dtype=dtype, weight=value.weight + 1)


def retype(value: Value, dtype: DType) -> Value:
    """A value in a dtype of its kind; a literal stays one."""
    if isinstance(value.code, Literal) and value.is_literal and not isinstance(value.code.value, str):
        return literal(value.code.value, dtype)
    return convert(value, dtype)


def _to(value: Value, code: TExpression, dtype: DType) -> TExpression:
    """A conversion; the interpreter's loop variables are integers of Python, which have no methods."""
    return To(code, TRITON_TYPES[dtype.name]) if value.axes else call("tl.cast", code, triton_type(dtype))


def _narrow(code: TExpression, value: Value, dtype: DType) -> TExpression:
    return call(f"to_{dtype.name}", code) if dtype.bits == 8 else _to(value, code, dtype)


def named(name: str, value: Value) -> Value:
    """The same value, now held by a variable."""
    return replace(value, code=Name(name), weight=0)
