"""How element types appear in C: the type in memory, and the kind of register they are computed in.

A *kind* is what registers hold: f32, f64, i32, i64, and bool, which is an int in scalars and a vi32 of 0 and -1 in lanes. Narrow
floats are computed in f32 and narrow integers in i32; a value of theirs may be pending, that is not yet rounded or wrapped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tcomp.codegen.c.tree import CExpression, Convert, Float, Integer, Name, Subscript, Unary, call
from tcomp.ir.dtypes import DType
from tcomp.ir.errors import Unsupported
from tcomp.ir.evaluate.arrays import round_number
from tcomp.ir.expressions import Number

Kind = Literal["f32", "f64", "i32", "i64", "bool"]


@dataclass(frozen=True, slots=True)
class Storage:
    """One element type in memory: its C type, its kind in registers, and the suffix of its loads if it is converted."""

    memory: str
    kind: Kind
    suffix: str = ""


STORAGE: dict[str, Storage] = {
    "f64": Storage("double", "f64"),
    "f32": Storage("float", "f32"),
    "f16": Storage("uint16_t", "f32", "_f16"),
    "bf16": Storage("uint16_t", "f32", "_bf16"),
    "i64": Storage("int64_t", "i64"),
    "i32": Storage("int32_t", "i32"),
    "i16": Storage("int16_t", "i32", "_i16"),
    "i8": Storage("int8_t", "i32", "_i8"),
    "u8": Storage("uint8_t", "i32", "_u8"),
    "bool": Storage("uint8_t", "bool", "_bool"),
}

SCALAR_TYPES: dict[Kind, str] = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "bool": "int"}
VECTOR_TYPES: dict[Kind, str] = {"f32": "vf32", "f64": "vf64", "i32": "vi32", "i64": "vi64", "bool": "vi32"}


def storage_of(dtype: DType) -> Storage:
    """How a dtype lies in memory; raises Unsupported for one the C backend does not serve."""
    if dtype.name not in STORAGE:
        raise Unsupported(f"the C backend does not serve {dtype}", help="convert to f16 or bf16 before compiling")
    return STORAGE[dtype.name]


@dataclass(frozen=True, slots=True)
class Value:
    """A computed value: C code, its dtype, whether it has lanes, and whether it is still to be rounded or wrapped to the dtype.

    `weight` counts the operations written into the code.
    """

    code: CExpression
    dtype: DType
    is_vector: bool
    is_pending: bool = False
    weight: int = 0

    @property
    def kind(self) -> Kind:
        """The kind of register it is in."""
        return storage_of(self.dtype).kind

    @property
    def type(self) -> str:
        """The C type of the code."""
        return c_type(self.dtype, self.is_vector)


def c_type(dtype: DType, is_vector: bool) -> str:
    """The C type of a register that holds a dtype."""
    return (VECTOR_TYPES if is_vector else SCALAR_TYPES)[storage_of(dtype).kind]


def suffix_of(value: Value) -> str:
    """How support functions name the type of a value: `vf32`, `f32`; masks are integers there."""
    return VECTOR_TYPES[value.kind] if value.is_vector else ("i32" if value.kind == "bool" else value.kind)


def is_narrow(dtype: DType) -> bool:
    """Whether registers hold the dtype in a wider type."""
    return bool(storage_of(dtype).suffix) and dtype.kind != "bool"


def literal(number: Number, dtype: DType) -> Value:
    """A scalar literal."""
    match storage_of(dtype).kind:
        case "f32":
            return Value(Float(round_number(float(number), dtype)), dtype, False)
        case "f64":
            return Value(Float(float(number), single=False), dtype, False)
        case "bool":
            return Value(Integer(int(bool(number))), dtype, False)
        case _:
            return Value(Integer(int(number)), dtype, False)


def broadcast(value: Value) -> Value:
    """The value in all lanes."""
    if value.is_vector:
        return value
    code = Unary("-", value.code) if value.kind == "bool" else value.code
    return replace(value, code=call(f"tcomp_broadcast_{VECTOR_TYPES[value.kind]}", code), is_vector=True)


def settle(value: Value) -> Value:
    """Round or wrap a pending value."""
    if not value.is_pending:
        return value
    name, code = value.dtype.name, value.code
    if value.dtype.is_float:
        lanes = code if value.is_vector else call("tcomp_broadcast_vf32", code)
        code = call(f"tcomp_decode_{name}", call(f"tcomp_encode_{name}", lanes))
        if not value.is_vector:
            code = Subscript(code, Integer(0))
    elif value.is_vector:
        code = call(f"tcomp_widen_v{name}", call(f"tcomp_narrow_v{name}", code))
    else:
        code = Convert("int32_t", Convert(STORAGE[name].memory, code))
    return replace(value, code=code, is_pending=False, weight=value.weight + 1)


def convert(value: Value, dtype: DType) -> Value:
    """The meaning of a Cast. The result is pending where the dtype is narrower than its register."""
    if value.dtype == dtype:
        return value
    value = settle(value)
    code = _convert_code(value, storage_of(dtype).kind)
    is_pending = is_narrow(dtype) and not _holds(value.dtype, dtype)
    return Value(code, dtype, value.is_vector, is_pending, value.weight + 1)


def _convert_code(value: Value, kind: Kind) -> CExpression:
    if value.kind == kind:
        return value.code
    if kind == "bool":
        zero = literal(0, value.dtype)
        if value.is_vector:
            return call(f"tcomp_ne_{suffix_of(value)}", value.code, broadcast(zero).code)
        return call(f"tcomp_ne_{value.kind}", value.code, zero.code)
    if not value.is_vector:
        return Convert(SCALAR_TYPES[kind], value.code)
    code = Unary("-", value.code) if value.kind == "bool" else value.code
    source = VECTOR_TYPES[value.kind]
    return code if source == VECTOR_TYPES[kind] else call(f"tcomp_convert_{VECTOR_TYPES[kind]}_{source}", code)


def _holds(source: DType, target: DType) -> bool:
    """Whether every value of `source` is one of `target`."""
    if source.kind == "bool":
        return True
    if source.is_float or target.is_float or (source.signed and not target.signed):
        return False
    return source.bits < target.bits


def reduce_lanes(monoid: str, value: Value) -> Value:
    """Fold the lanes of a vector into a scalar."""
    value = settle(value)
    if value.kind == "bool" and monoid == "xor":
        return Value(Unary("-", call("tcomp_reduce_xor_vi32", value.code)), value.dtype, False)
    if value.kind == "bool":
        function = {"any": "tcomp_any", "max": "tcomp_any", "all": "tcomp_all", "min": "tcomp_all"}[monoid]
        return Value(call(function, value.code), value.dtype, False)
    return Value(call(f"tcomp_reduce_{monoid}_{suffix_of(value)}", value.code), value.dtype, False)


def named(name: str, value: Value) -> Value:
    """The same value, now held by a variable."""
    return replace(value, code=Name(name), weight=0)
