"""The machine that code is made for, as a value: part of every cache key, and what schedules are derived from.

    target := "target" STRING "{" (cpu | gpu) "compiler" STRING ["peak" NUMBER] ["bandwidth" NUMBER] "}"
    cpu    := "isa" STRING "vector" INT "bits" INT "registers" "cores" INT "cache" INT "," INT "," INT
    gpu    := "architecture" INT "multiprocessors" INT "shared" INT "registers" INT "cache" INT

    target "avx512 2 cores" {
      isa "x86_64 avx2 fma f16c avx512f"
      vector 512 bits 32 registers
      cores 2
      cache 49152, 2097152, 503316480
      compiler "gcc 12.2.0"
      peak 3.1e+11
    }

    target "sm_90 132 multiprocessors" {
      architecture 90
      multiprocessors 132
      shared 232448
      registers 65536
      cache 52428800
      compiler "triton 3.6.0"
    }
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TypeAlias

from tcomp.ir.dtypes import DType, compute_dtype


@dataclass(frozen=True, slots=True)
class Cpu:
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
        return "\n".join([*lines, *_print_rates(self), "}"])

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


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA GPU as a compiler sees it; sizes are in bytes, registers are of 32 bits."""

    name: str
    architecture: int
    """The compute capability as a number: 90 for 9.0."""
    multiprocessors: int
    shared: int
    """Shared memory that one program instance may use."""
    registers: int
    """Registers of a multiprocessor."""
    l2: int
    compiler: str
    float_peak: float | None = None
    """Measured bf16 operations per second of all tensor cores together."""
    bandwidth: float | None = None
    """Measured bytes per second from memory."""

    def __str__(self) -> str:
        lines = [
            f"target {json.dumps(self.name)} {{",
            f"  architecture {self.architecture}",
            f"  multiprocessors {self.multiprocessors}",
            f"  shared {self.shared}",
            f"  registers {self.registers}",
            f"  cache {self.l2}",
            f"  compiler {json.dumps(self.compiler)}",
        ]
        return "\n".join([*lines, *_print_rates(self), "}"])

    @property
    def key(self) -> str:
        """The text without what was measured, which differs a little each time: for cache keys."""
        return str(replace(self, float_peak=None, bandwidth=None))


Target: TypeAlias = Cpu | Gpu


def _print_rates(target: Target) -> list[str]:
    lines = []
    if target.float_peak is not None:
        lines.append(f"  peak {target.float_peak!r}")
    if target.bandwidth is not None:
        lines.append(f"  bandwidth {target.bandwidth!r}")
    return lines
