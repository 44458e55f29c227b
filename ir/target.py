"""The machine that code is made for, as a value: part of every cache key, and what schedules are derived from.

    target := "target" STRING "{" "isa" STRING "vector" INT "bits" INT "registers" "cores" INT "cache" INT "," INT "," INT
              "compiler" STRING ["peak" NUMBER] ["bandwidth" NUMBER] "}"

    target "avx512 2 cores" {
      isa "x86_64 avx2 fma f16c avx512f"
      vector 512 bits 32 registers
      cores 2
      cache 49152, 2097152, 503316480
      compiler "gcc 12.2.0"
      peak 3.1e+11
    }
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.lexer import Cursor


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU as a compiler sees it; sizes of caches are in bytes, 0 for one that is not there."""

    name: str
    isa: str
    """The architecture, then the instruction sets that generated code may use, in a fixed order."""
    vector_bits: int
    vector_registers: int
    cores: int
    """How many threads run at once: what affinity and quota leave of the machine's cores."""
    l1: int
    l2: int
    l3: int
    compiler: str
    float_peak: float | None = None
    """Measured f32 operations per second of all cores together."""
    bandwidth: float | None = None
    """Measured bytes per second from memory, all cores together."""

    def __str__(self) -> str:
        lines = [
            f"target {json.dumps(self.name)} {{",
            f"  isa {json.dumps(self.isa)}",
            f"  vector {self.vector_bits} bits {self.vector_registers} registers",
            f"  cores {self.cores}",
            f"  cache {self.l1}, {self.l2}, {self.l3}",
            f"  compiler {json.dumps(self.compiler)}",
        ]
        if self.float_peak is not None:
            lines.append(f"  peak {self.float_peak!r}")
        if self.bandwidth is not None:
            lines.append(f"  bandwidth {self.bandwidth!r}")
        return "\n".join([*lines, "}"])

    @property
    def key(self) -> str:
        """The text without what was measured, which differs a little each time: for cache keys."""
        return str(replace(self, float_peak=None, bandwidth=None))

    def has(self, feature: str) -> bool:
        """Whether an instruction set is available, by its name in `isa`."""
        return feature in self.isa.split()

    def lanes(self, dtype: DType) -> int:
        """How many elements a vector register holds while one computes with them (narrow floats compute in f32)."""
        return self.vector_bits // compute_dtype(dtype).bits


def parse_target(text: str) -> Target:
    """Parse a target: `parse_target(str(t)) == t`. Raises ParseError with line, column and a caret."""
    cursor = Cursor(text)
    cursor.expect("target", help='a target starts: target "name" {')
    name = cursor.expect_string("the target's name")
    cursor.expect("{")
    cursor.expect("isa")
    isa = cursor.expect_string("the instruction sets")
    cursor.expect("vector")
    bits = cursor.expect_integer("the bits of a vector")
    cursor.expect("bits")
    registers = cursor.expect_integer("the number of vector registers")
    cursor.expect("registers")
    cursor.expect("cores")
    cores = cursor.expect_integer("the number of cores")
    cursor.expect("cache")
    l1 = cursor.expect_integer("the bytes of the first cache")
    cursor.expect(",")
    l2 = cursor.expect_integer("the bytes of the second cache")
    cursor.expect(",")
    l3 = cursor.expect_integer("the bytes of the third cache")
    cursor.expect("compiler")
    compiler = cursor.expect_string("the compiler")
    peak = _read_rate(cursor) if cursor.accept("peak") else None
    bandwidth = _read_rate(cursor) if cursor.accept("bandwidth") else None
    cursor.expect("}")
    cursor.expect_end()
    return Target(name, isa, bits, registers, cores, l1, l2, l3, compiler, peak, bandwidth)


def _read_rate(cursor: Cursor) -> float:
    if cursor.token.kind != "number":
        cursor.fail(f"expected a rate, found {cursor.describe()}", help="write operations or bytes per second, as in 3.1e+11")
    return float(cursor.advance().text)
