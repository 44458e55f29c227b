"""A tile program as one Triton function.

    def NAME(X, ..., Y, N, scratch, faults)

is for a grid of one dimension with as many programs as the parallel loops have instances (`tcomp.codegen.launch.instances`),
counted with the last loop fastest. `scratch`, where a kernel has buffers, is memory of TritonUnit.scratch bytes for each instance;
`faults`, where it is indexed by data, is an int32 for each check of `tcomp.codegen.checks`, which becomes 1 if the check fails.
"""

from __future__ import annotations

import hashlib
import keyword
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tcomp.codegen.checks import find_checks
from tcomp.codegen.launch import parallel_loops, trip_count
from tcomp.codegen.names import Names, spell
from tcomp.codegen.triton.body import SCRATCH, BodyWriter, buffer_offsets
from tcomp.codegen.triton.dot import Precision
from tcomp.codegen.triton.hazards import find_barriers
from tcomp.codegen.triton.index import IndexWriter, Space, no_values
from tcomp.codegen.triton.memory import FAULTS
from tcomp.codegen.triton.padding import plan_padding
from tcomp.codegen.triton.prepare import prepare_kernel
from tcomp.codegen.triton.printer import print_triton
from tcomp.codegen.triton.scope import State
from tcomp.codegen.triton.sources import find_functions, support_functions
from tcomp.codegen.triton.tree import Binary, Comment, Function, Literal, Name, Parameter, Set, add, call
from tcomp.codegen.triton.types import SPELLINGS, Value
from tcomp.ir.dtypes import i32, i64
from tcomp.ir.expressions import ZERO, print_index
from tcomp.ir.index import Bounds
from tcomp.ir.tile import Argument, Kernel, Loop, contiguous_strides

PROGRAM = "pid"
RESERVED = frozenset([*keyword.kwlist, *keyword.softkwlist, "tl", "range", "float", SCRATCH, FAULTS, PROGRAM])
HEADER = '"""Triton kernels written by tcomp."""\n\nimport triton.language as tl\n'


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """How to print kernels: how tensor cores multiply floats of 32 bits."""

    precision: Precision = "tf32x3"


@dataclass(frozen=True, slots=True)
class TritonParameter:
    """A parameter of a kernel's function, and its type as Triton's signatures spell it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class TritonUnit:
    """A kernel as a function: its name, which ends in a hash of what it does, and its text.

    `scratch` are the bytes of scratch memory of one instance, `checks` the number of checks that it reports.
    """

    symbol: str
    kernel: Kernel
    source: str
    parameters: tuple[TritonParameter, ...]
    scratch: int
    checks: int


def triton_unit(kernel: Kernel, options: TritonOptions) -> TritonUnit:
    """Print a kernel under a name that equal kernels of any program share, as far as they are named alike."""
    function, parameters, scratch = _kernel_function(kernel, options)
    content = print_triton((replace(function, name="kernel"),))
    helpers = "\n".join(support_functions(content))
    symbol = f"{spell(kernel.name)}_{hashlib.sha256((content + helpers).encode()).hexdigest()[:12]}"
    source = print_triton((Comment((kernel.name, *kernel.notes)), replace(function, name=symbol)))
    return TritonUnit(symbol, kernel, source, parameters, scratch, len(find_checks(kernel)))


def module_source(units: Iterable[TritonUnit]) -> str:
    """The text of a module with the functions of some kernels, and those of ours that they call."""
    sources = list({unit.symbol: unit.source for unit in units}.values())
    helpers = support_functions("\n".join(sources))
    return "\n\n".join([HEADER, *helpers, *sources])


def _kernel_function(kernel: Kernel, options: TritonOptions) -> tuple[Function, tuple[TritonParameter, ...], int]:
    names = Names()
    names.taken |= RESERVED | find_functions()
    pointers = {argument.name: names.take(argument.name) for argument in kernel.arguments}
    bounds = Bounds({}, {s.name: (s.low, s.high) for s in kernel.symbols})
    checks = {(c.tensor, c.dimension, c.is_store): number for number, c in enumerate(find_checks(kernel))}
    prepared = prepare_kernel(kernel)
    state = State(names, bounds, plan_padding(prepared), checks)
    parameters = [Parameter(pointers[a.name], f"{a.role} {_describe(a)}") for a in kernel.arguments]
    types = [TritonParameter(pointers[a.name], f"*{SPELLINGS[a.dtype.name].short}") for a in kernel.arguments]
    for argument in kernel.arguments:
        state.declare(argument, pointers[argument.name])
    for symbol in kernel.symbols:
        dtype = i32 if symbol.high is not None and symbol.high < 2**31 else i64
        name = names.take(symbol.name)
        state.variables[symbol.name] = Value(Name(name), dtype)
        types.append(TritonParameter(name, dtype.name))
        parameters.append(Parameter(name, f"{symbol.name} in {symbol.low} .. {'' if symbol.high is None else symbol.high}"))
    scratch = buffer_offsets(prepared)[1]
    if scratch:
        parameters.append(Parameter(SCRATCH, f"{scratch} bytes for each instance"))
        types.append(TritonParameter(SCRATCH, "*i8"))
    if checks:
        parameters.append(Parameter(FAULTS, f"i32[{len(checks)}], where a check that failed puts 1"))
        types.append(TritonParameter(FAULTS, "*i32"))
    _write_instance(prepared, state, options)
    return Function("kernel", tuple(parameters), tuple(state.body.statements)), tuple(types), scratch


def _describe(argument: Argument) -> str:
    text = f"{argument.dtype}[{', '.join(print_index(e) for e in argument.shape)}]"
    if argument.strides != contiguous_strides(argument.shape):
        text += f" strides ({', '.join(print_index(s) for s in argument.strides)})"
    return text


def _write_instance(kernel: Kernel, state: State, options: TritonOptions) -> None:
    """Find the instance's place in the nest of parallel loops, and write what it does."""
    loops = parallel_loops(kernel)
    numbers = IndexWriter(state, Space(()), state.bounds, no_values)
    is_plain = len(loops) == 1 and loops[0].start == ZERO and loops[0].step == 1
    program = state.names.take(loops[0].variable) if is_plain else PROGRAM
    instance = Value(Name(program), i32)
    if loops or buffer_offsets(kernel)[1]:
        state.body.statements.append(Set(program, call("tl.program_id", Literal(0))))
    places: list[tuple[Loop, Value]] = [(loops[0], instance)] if is_plain else []
    rest = instance
    for loop in () if is_plain else reversed(loops):
        count, start = numbers.value(trip_count(loop)), numbers.value(loop.start)
        number = rest.code if loop is loops[0] else Binary("%", rest.code, count.code)
        code = add(start.code, number if loop.step == 1 else Binary("*", number, Literal(loop.step)))
        places.append((loop, Value(code, i64 if i64 in (rest.dtype, count.dtype, start.dtype) else i32)))
        rest = Value(Binary("//", rest.code, count.code), i64 if i64 in (rest.dtype, count.dtype) else i32)
    for loop, value in reversed(places):
        if not is_plain:
            name = state.names.take(loop.variable)
            state.body.statements.append(Set(name, value.code))
            value = replace(value, code=Name(name))
        state.bind(loop, value)
    body = loops[-1].body if loops else kernel.body
    BodyWriter(kernel, state, find_barriers(kernel), options.precision, instance).write(body, (0,) * len(loops))
