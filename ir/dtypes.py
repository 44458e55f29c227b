"""Element types, one table.

A float narrower than 32 bits is a storage type: arithmetic on it is defined as arithmetic in f32 followed by one rounding to
nearest even. e4m3 has no infinity: what is too large for it, infinity included, becomes 448 with its sign, as in PyTorch 2.13.
Conversions: a float narrower than 32 bits is reached through f32; float to integer truncates toward zero (out of range is
undefined, as in C); anything to bool is `x != 0`; integers wrap modulo 2**bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["float", "int", "bool"]


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: its name in the text form, width in bits, kind and signedness."""

    name: str
    bits: int
    kind: Kind
    signed: bool
    mantissa: int = 0
    """Explicit mantissa bits of a float, 0 otherwise."""

    def __str__(self) -> str:
        return self.name

    @property
    def bytes(self) -> int:
        """Storage size of one element in bytes."""
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        """Whether this is a floating-point type."""
        return self.kind == "float"

    @property
    def is_int(self) -> bool:
        """Whether this is an integer type (bool is none)."""
        return self.kind == "int"

    @property
    def epsilon(self) -> float:
        """Distance from 1.0 to the next float; 0 for exact types."""
        return 2.0**-self.mantissa if self.is_float else 0.0


f64 = DType("f64", 64, "float", True, 52)
f32 = DType("f32", 32, "float", True, 23)
f16 = DType("f16", 16, "float", True, 10)
bf16 = DType("bf16", 16, "float", True, 7)
e4m3 = DType("e4m3", 8, "float", True, 3)
e5m2 = DType("e5m2", 8, "float", True, 2)
i64 = DType("i64", 64, "int", True)
i32 = DType("i32", 32, "int", True)
i16 = DType("i16", 16, "int", True)
i8 = DType("i8", 8, "int", True)
u8 = DType("u8", 8, "int", False)
boolean = DType("bool", 8, "bool", False)

DTYPES: dict[str, DType] = {t.name: t for t in (f64, f32, f16, bf16, e4m3, e5m2, i64, i32, i16, i8, u8, boolean)}


def compute_dtype(dtype: DType) -> DType:
    """Return the type in which arithmetic on `dtype` is carried out: f32 for narrow floats, `dtype` itself otherwise."""
    return f32 if dtype.is_float and dtype.bits < 32 else dtype
