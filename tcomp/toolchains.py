"""The compiler and the machine of this process, found once for each setting of CC and of sanitizers."""

from __future__ import annotations

import functools
from dataclasses import replace

from tcomp.codegen.toolchain import Toolchain, find_toolchain
from tcomp.ir.target import Cpu
from tcomp.ir.target_detect import detect_target


@functools.cache
def find_machine(compiler: tuple[str, ...], sanitizers: tuple[str, ...] = ()) -> tuple[Toolchain, Cpu]:
    """The C compiler and the machine it compiles for; raises ToolchainError if there is none."""
    toolchain = find_toolchain(compiler, sanitizers)
    target = detect_target(f"{toolchain.command[0]} {toolchain.version}")
    # A compiler that does not know the widest vectors cannot use them.
    return toolchain, replace(target, vector_bits=min(target.vector_bits, 32 * toolchain.lanes))
