"""The compiler and the machine of this process, found once for each setting of CC, of sanitizers and of TCOMP_TARGET."""

from __future__ import annotations

import functools
from dataclasses import replace

from tcomp.codegen.c.machine import detect_target
from tcomp.codegen.c.toolchain import LIMIT, Toolchain, find_toolchain
from tcomp.ir.errors import TcompError
from tcomp.ir.parse.target import parse_target
from tcomp.ir.target import Cpu

LANES = (4, 8, 16)
"""f32 elements in the vectors that the headers of generated code know."""


@functools.cache
def find_machine(
    compiler: tuple[str, ...], sanitizers: tuple[str, ...] = (), description: str = "", limit: float = LIMIT
) -> tuple[Toolchain, Cpu]:
    """The C compiler, and the machine to make kernels for: the one it compiles for, or the one described by the text of a CPU.

    The compiler may take `limit` seconds for a file.

    Kernels for a described machine run here: its vectors may be narrower than ours, and its cores only shape schedules. Raises
    ToolchainError if there is no compiler, ParseError for a text that is no target, TcompError for vectors that cannot run here.
    """
    toolchain = find_toolchain(compiler, sanitizers, limit)
    if not description:
        target = detect_target(f"{toolchain.command[0]} {toolchain.version}")
        # A compiler that does not know the widest vectors cannot use them.
        return toolchain, replace(target, vector_bits=min(target.vector_bits, 32 * toolchain.lanes))
    described = parse_target(description)
    if not isinstance(described, Cpu):
        raise TcompError("the target is a GPU", where=f"TCOMP_TARGET\n{described}", help="describe a CPU; GPUs are named by an option")
    lanes = described.vector_bits // 32
    if described.vector_bits % 32 or lanes not in LANES or lanes > toolchain.lanes:
        served = " or ".join(str(32 * count) for count in LANES if count <= toolchain.lanes)
        raise TcompError(
            f"vectors of {described.vector_bits} bits cannot run on this machine",
            where=f"TCOMP_TARGET\n{described}",
            help=f"describe a machine with vectors of {served} bits",
        )
    # What is built with other lanes is another program.
    return replace(toolchain, lanes=lanes, identity=f"{toolchain.identity} {lanes} lanes"), described
