"""A tile program as one C function.

    void NAME(const float* restrict X, ..., float* restrict Y, int64_t N, int64_t begin, int64_t end)

runs the instances [begin, end) of the parallel loops, counted with the last loop fastest; `instances` says how many there are. A
kernel whose buffers are large has one more parameter, `scratch`: memory of its thread of `scratch_bytes` bytes. One that is
indexed by data has a parameter `fault`, see `tcomp.codegen.checks`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.codegen.c.body import BodyScope, BodyWriter
from tcomp.codegen.c.expressions import Context
from tcomp.codegen.c.index import LANE, scalar_code
from tcomp.codegen.c.layout import plan_layout
from tcomp.codegen.c.memory import Home, Memory
from tcomp.codegen.c.prepare import prepare_kernel
from tcomp.codegen.c.printer import print_c
from tcomp.codegen.c.tree import (
    Binary,
    CExpression,
    Comment,
    CStatement,
    Declare,
    Directive,
    For,
    Function,
    If,
    Integer,
    Name,
    Parameter,
    Set,
    add,
)
from tcomp.codegen.c.types import storage_of
from tcomp.codegen.checks import FAULT, find_checks
from tcomp.codegen.launch import buffer_bytes, parallel_loops, trip_count
from tcomp.codegen.names import Names, spell
from tcomp.ir.expressions import as_index, print_index
from tcomp.ir.index import Bounds
from tcomp.ir.tile import Buffer, Kernel, contiguous_strides, walk_statements

STACK_BYTES = 256 * 1024
"""Buffers beyond this size together live in the thread's scratch memory instead of on its stack."""


@dataclass(frozen=True, slots=True)
class COptions:
    """How to print kernels. `lanes` is the number of f32 elements in a vector register."""

    lanes: int = 16


DEFAULT = COptions()


def kernel_source(kernel: Kernel, options: COptions = DEFAULT) -> str:
    """The C source of a kernel, a whole translation unit."""
    return print_unit(kernel_function(kernel, options), options, (kernel.name, *kernel.notes))


def print_unit(function: Function, options: COptions, notes: tuple[str, ...] = ()) -> str:
    """The translation unit of one kernel's function, under a comment."""
    head: tuple[CStatement, ...] = (Comment(notes),) if notes else ()
    includes = (Directive(f"#define TCOMP_LANES {options.lanes}"), Directive('#include "vector.h"'), Directive(""))
    return print_c((*head, *includes, function))


def scratch_bytes(kernel: Kernel) -> int:
    """Bytes of scratch memory that a thread needs to run the kernel; 0 if its buffers fit on the stack."""
    buffers = [s for s in walk_statements(kernel.body) if isinstance(s, Buffer)]
    total = sum(buffer_bytes(buffer) for buffer in buffers)
    return total if total > STACK_BYTES else 0


def kernel_parameters(kernel: Kernel) -> tuple[Parameter, ...]:
    """The parameters of a kernel's function: arguments, symbols, scratch and fault if it needs them, and the range of instances."""
    names = _interface_names(kernel, Names())
    parameters: list[Parameter] = []
    for argument in kernel.arguments:
        shape = f"{argument.dtype}[{', '.join(print_index(e) for e in argument.shape)}]"
        if argument.strides != contiguous_strides(argument.shape):
            shape += f" strides ({', '.join(print_index(s) for s in argument.strides)})"
        const = "const " if argument.role == "in" else ""
        pointer = f"{const}{storage_of(argument.dtype).memory}* restrict"
        parameters.append(Parameter(pointer, names[argument.name], f"{argument.role} {shape}"))
    parameters += [Parameter("int64_t", names[symbol.name]) for symbol in kernel.symbols]
    if scratch_bytes(kernel):
        parameters.append(Parameter("char* restrict", "scratch", f"{scratch_bytes(kernel)} bytes"))
    if find_checks(kernel):
        parameters.append(Parameter("int32_t* restrict", FAULT, "the number of a check that failed"))
    return (*parameters, Parameter("int64_t", "begin"), Parameter("int64_t", "end"))


def _interface_names(kernel: Kernel, names: Names) -> dict[str, str]:
    return {name: names.take(name) for name in [a.name for a in kernel.arguments] + [s.name for s in kernel.symbols]}


def kernel_function(kernel: Kernel, options: COptions = DEFAULT) -> Function:
    """The C function of a kernel."""
    parameters, checks = kernel_parameters(kernel), find_checks(kernel)
    kernel = prepare_kernel(kernel, options.lanes)
    names = Names()
    interface = _interface_names(kernel, names)
    homes: dict[str, Home] = {a.name: Memory(interface[a.name], a.dtype, a.shape, a.strides) for a in kernel.arguments}
    bounds = Bounds({LANE: as_index(options.lanes)}, {s.name: (s.low, s.high) for s in kernel.symbols})
    variables = {s.name: interface[s.name] for s in kernel.symbols}
    numbers = {(c.tensor, c.dimension, c.is_store): number for number, c in enumerate(checks, 1)}
    context = Context(plan_layout(kernel, options.lanes), homes, variables, bounds, numbers)
    scope = BodyScope(context, {a.name: a for a in kernel.arguments}, names)
    writer = BodyWriter(in_scratch=scratch_bytes(kernel) > 0)
    return Function("void", spell(kernel.name), parameters, tuple(_instance_loop(kernel, scope, writer)))


def _instance_loop(kernel: Kernel, scope: BodyScope, writer: BodyWriter) -> list[CStatement]:
    """The loop over [begin, end): the first instance's place in the nest is worked out, later ones are counted."""
    loops = parallel_loops(kernel)
    body = loops[-1].body if loops else kernel.body
    outside = scope.context
    trips = [scalar_code(trip_count(loop), outside.names, outside.bounds) for loop in loops]
    counters = [scope.names.take(f"{loop.variable}_number") for loop in loops]
    head: list[CStatement] = []
    rest: CExpression = Name("begin")
    for counter, count in reversed(list(zip(counters, trips))):
        is_outermost = counter == counters[0]
        head.append(Declare("int64_t", counter, rest if is_outermost else Binary("%", rest, count)))
        rest = Binary("/", rest, count)
    variables: list[CStatement] = []
    for loop, counter in zip(loops, counters):
        start = scalar_code(loop.start, outside.names, outside.bounds)
        offset: CExpression = Name(counter) if loop.step == 1 else Binary("*", Name(counter), Integer(loop.step))
        scope = scope.enter(loop)
        variables.append(Declare("const int64_t", scope.context.names[loop.variable], add(start, offset)))
    work = writer.branch(body, scope, loops)
    loop_body = (*variables, *work, *_count_up(counters, trips))
    return [*head, For("instance", Name("begin"), Binary("<", Name("instance"), Name("end")), 1, loop_body)]


def _count_up(counters: list[str], trips: list[CExpression]) -> list[CStatement]:
    """Go to the next instance: the last counter first, the one before it when that wraps around."""
    steps: list[CStatement] = [Set(Name(counters[0]), Integer(1), "+=")] if counters else []
    for counter, count in list(zip(counters, trips))[1:]:
        wrap = If(Binary("==", Name(counter), count), (Set(Name(counter), Integer(0)), *steps))
        steps = [Set(Name(counter), Integer(1), "+="), wrap]
    return steps
