"""The text of Triton kernels on disk, where Python can read it back, and what is known of a compiled kernel; needs no Triton."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcomp.codegen.cache import BuildCache, hash_parts
from tcomp.codegen.triton.kernel import TritonUnit, module_source
from tcomp.ir.target import Gpu

WARP = 32
"""Threads of a warp."""
MOST_WARPS = {80: 64, 86: 48, 89: 48, 90: 64, 100: 64, 120: 48}
"""Warps that a multiprocessor holds, by architecture."""
MOST_BLOCKS = {80: 32, 86: 16, 89: 24, 90: 32, 100: 32, 120: 24}
"""Program instances that a multiprocessor holds, by architecture."""
REGISTER_UNIT = 256
"""Registers are given to warps in units of this size."""
SHARED_RESERVED = 1024
"""Bytes of shared memory that the system takes for each instance."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a compiled kernel uses: registers of a thread, and bytes spilled to memory by a thread, shared by an instance, of code."""

    registers: int
    spilled: int
    shared: int
    tensor_cores: Literal["", "mma", "wgmma", "tcgen05"]
    """The tensor-core instructions it uses, the newest if several."""
    binary: int


def build_module(units: Iterable[TritonUnit], cache_directory: Path) -> Path:
    """Write the Python module of some kernels into the cache, or find it there; returns its path. Raises ToolchainError."""
    return keep_module(module_source(units), cache_directory)


def keep_module(text: str, cache_directory: Path) -> Path:
    """Write the text of a module into the cache, or find it there; returns its path. Raises ToolchainError."""
    cache = BuildCache(cache_directory)
    key = hash_parts("triton", text)
    found = cache.find(key, ".py")
    if found is not None:
        return found
    with cache.workspace() as folder:
        built = folder / "module.py"
        built.write_text(text)
        return cache.add(key, ".py", built)


def count_resident(resources: Resources, warps: int, target: Gpu) -> int:
    """How many instances of a kernel one multiprocessor holds at once."""
    known = max((a for a in MOST_WARPS if a <= target.architecture), default=80)
    per_warp = -(-resources.registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    limits = [MOST_BLOCKS[known], MOST_WARPS[known] // warps, target.registers // max(per_warp * warps, 1)]
    if resources.shared:
        # What one instance may use, and the part that is reserved for it, is all that the multiprocessor has.
        limits.append((target.shared + SHARED_RESERVED) // (resources.shared + SHARED_RESERVED))
    return min(limits)


def measure_occupancy(resources: Resources, warps: int, target: Gpu) -> float:
    """The share of a multiprocessor's warps that are in use when it is full of instances of a kernel."""
    known = max((a for a in MOST_WARPS if a <= target.architecture), default=80)
    return count_resident(resources, warps, target) * warps / MOST_WARPS[known]
