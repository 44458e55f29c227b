"""How element types appear in Triton, and values on their way through an expression."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tcomp.codegen.triton.tree import Binary, Literal, Name, TExpression, To, Tuple, call
from tcomp.ir.dtypes import DType, f32, i32
from tcomp.ir.evaluate.arrays import round_number
from tcomp.ir.expressions import Number


@dataclass(frozen=True, slots=True)
class Spelling:
    """What Triton calls an element type: in kernels, and in signatures, where a pointer to it has a star before."""

    name: str
    short: str


SPELLINGS = {
    "f64": Spelling("tl.float64", "fp64"),
    "f32": Spelling("tl.float32", "fp32"),
    "f16": Spelling("tl.float16", "fp16"),
    "bf16": Spelling("tl.bfloat16", "bf16"),
    "e4m3": Spelling("tl.float8e4nv", "fp8e4nv"),
    "e5m2": Spelling("tl.float8e5", "fp8e5"),
    "i64": Spelling("tl.int64", "i64"),
    "i32": Spelling("tl.int32", "i32"),
    "i16": Spelling("tl.int16", "i16"),
    "i8": Spelling("tl.int8", "i8"),
    "u8": Spelling("tl.uint8", "u8"),
    "bool": Spelling("tl.int1", "i1"),
}
"""One row an element type, all that this generator says of them by name."""

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
    return Name(SPELLINGS[dtype.name].name)


def literal(number: Number, dtype: DType) -> Value:
    """A literal, rounded to its dtype if that is a narrow float."""
    if dtype.is_float:
        return Value(Literal(round_number(float(number), dtype)), dtype, is_literal=True)
    return Value(Literal(bool(number) if dtype.kind == "bool" else int(number)), dtype, is_literal=True)


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
    return To(code, SPELLINGS[dtype.name].name) if value.axes else call("tl.cast", code, triton_type(dtype))


def _narrow(code: TExpression, value: Value, dtype: DType) -> TExpression:
    return call(f"to_{dtype.name}", code) if dtype.bits == 8 else _to(value, code, dtype)


def named(name: str, value: Value) -> Value:
    """The same value, now held by a variable."""
    return replace(value, code=Name(name), weight=0)
