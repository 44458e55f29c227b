"""How a kernel is launched: instances of its parallel loops, the memory of its buffers, and the plan that runs it alone."""

from __future__ import annotations

from math import prod

from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ZERO, Index, as_index
from tcomp.ir.plan import Place, Plan, Step
from tcomp.ir.tile import Buffer, Kernel, Loop
from tcomp.ir.walk import index_variables

ALIGNMENT = 64


def buffer_bytes(buffer: Buffer) -> int:
    """Bytes of a buffer, rounded up so that the next one is aligned."""
    size = prod(buffer.shape) * buffer.dtype.bytes
    return -(-size // ALIGNMENT) * ALIGNMENT


def instances(kernel: Kernel) -> Index:
    """How many instances the parallel loops of a kernel have."""
    total = as_index(1)
    for loop in parallel_loops(kernel):
        total = total * trip_count(loop)
    return total


def parallel_loops(kernel: Kernel) -> tuple[Loop, ...]:
    """The nest of parallel loops, outermost first."""
    found: list[Loop] = []
    body = kernel.body
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "parallel":
        found.append(body[0])
        body = body[0].body
    outer: set[str] = set()
    for loop in found:
        if (index_variables(loop.start) | index_variables(loop.stop)) & outer:
            raise Unsupported(
                f"the range of the parallel loop {loop.variable} depends on a loop around it",
                where=f"kernel {kernel.name}",
                help="parallel loops span a box: give the loop its full range and limit what it does",
            )
        outer.add(loop.variable)
    return tuple(found)


def trip_count(loop: Loop) -> Index:
    """How often a loop runs, if its range is not negative."""
    return (loop.stop - loop.start + (loop.step - 1)) // loop.step


def plan_alone(kernel: Kernel) -> Plan:
    """The plan that runs one kernel, each of whose arguments is an external tensor of the same name."""
    names = tuple(argument.name for argument in kernel.arguments)
    return Plan(names, ZERO, (Step(kernel.name, tuple(Place(name, ZERO) for name in names)),), kernel.symbols)
