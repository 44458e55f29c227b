"""The driver of a program: C that runs the steps of a plan, as tables that `support/program.h` interprets.

A table takes the compiler no time: 2,000 steps compile in a tenth of a second, where as many calls in a row take many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tcomp.codegen.c.index import scalar_code
from tcomp.codegen.c.kernel import DEFAULT, COptions, kernel_function, kernel_parameters, print_unit, scratch_bytes
from tcomp.codegen.c.printer import print_c
from tcomp.codegen.c.tree import (
    Braces,
    CExpression,
    Comment,
    Convert,
    CStatement,
    DeclareArray,
    Directive,
    Evaluate,
    Function,
    Integer,
    Name,
    Parameter,
    Return,
    Set,
    Subscript,
    call,
)
from tcomp.codegen.checks import FAULT, find_checks
from tcomp.codegen.launch import instances
from tcomp.codegen.names import spell
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Index
from tcomp.ir.index import Bounds, interval
from tcomp.ir.plan import ARENA, Place, Plan, Step
from tcomp.ir.tile import Kernel, span_bytes

_CALL = (
    Parameter("char* const*", "at"),
    Parameter("const int64_t*", "symbols"),
    Parameter("char*", "scratch"),
    Parameter("int32_t*", FAULT),
    Parameter("int64_t", "begin"),
    Parameter("int64_t", "end"),
)


@dataclass(frozen=True, slots=True)
class KernelUnit:
    """A kernel as a translation unit: its function's name, which ends in a hash of what the function does, and the source."""

    symbol: str
    kernel: Kernel
    source: str
    content: str
    """The source without notes, of a function without a name: what the object file depends on, with the symbol."""


def kernel_unit(kernel: Kernel, options: COptions) -> KernelUnit:
    """Print a kernel under a name that equal kernels of any program share, as far as they are named alike."""
    function = kernel_function(kernel, options)
    content = print_unit(replace(function, name="kernel"), options)
    symbol = f"{spell(kernel.name)}_{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    return KernelUnit(symbol, kernel, print_unit(replace(function, name=symbol), options, (kernel.name, *kernel.notes)), content)


def kernel_units(plan: Plan, kernels: Mapping[str, Kernel], options: COptions) -> Iterator[tuple[str, KernelUnit]]:
    """Print the kernels that a plan calls; yields the plan's name of each with its unit. Kernels that do the same share one."""
    seen: set[str] = set()
    by_kernel: dict[Kernel, KernelUnit] = {}
    by_content: dict[str, KernelUnit] = {}
    for step in plan.steps:
        if step.kernel in seen:
            continue
        seen.add(step.kernel)
        if step.kernel not in kernels:
            raise VerifyError(
                f"the plan calls {step.kernel}, which is not among the kernels",
                where=f"step of {step.kernel}",
                help=f"the kernels are {', '.join(kernels)}",
            )
        kernel = kernels[step.kernel]
        nameless = replace(kernel, name="kernel")
        if nameless not in by_kernel:
            unit = kernel_unit(kernel, options)
            by_kernel[nameless] = by_content.setdefault(unit.content, unit)
        yield step.kernel, by_kernel[nameless]


def program_source(plan: Plan, kernels: Mapping[str, Kernel], options: COptions = DEFAULT, *, checked: bool = False) -> str:
    """The C source of a plan's driver, which checks its kernels as it runs them if it is to be `checked`.

    It defines int tcomp_run(void* const* externals, char* arena, const int64_t* symbols, int threads, int flush_denormals),
    which `support/program.h` describes, or `support/program_checked.h`.
    """
    return driver_source(plan, dict(kernel_units(plan, kernels, options)), checked=checked)


def driver_source(plan: Plan, units: Mapping[str, KernelUnit], *, checked: bool = False) -> str:
    """The C source of a plan's driver, over units that are printed already."""
    return _Driver(plan, units, checked=checked).source()


class _Driver:
    def __init__(self, plan: Plan, units: Mapping[str, KernelUnit], *, checked: bool) -> None:
        self.plan = plan
        self.units = units
        self.checked = checked
        self.bounds = Bounds({}, {s.name: (s.low, s.high) for s in plan.symbols})
        self.symbols: dict[str, CExpression] = {
            symbol.name: Subscript(Name("symbols"), Integer(position)) for position, symbol in enumerate(plan.symbols)
        }
        self.offsets: dict[Index, int] = {}

    def source(self) -> str:
        """The whole driver."""
        plan = self.plan
        unique = {unit.symbol: unit for unit in self.units.values()}
        steps, places = self._tables()
        checks = self._check_tables() if self.checked else ()
        scratch = max([scratch_bytes(unit.kernel) for unit in unique.values()], default=0)
        find_offsets: list[CStatement] = [
            Set(Subscript(Name("offsets"), Integer(number)), self._code(index)) for index, number in self.offsets.items()
        ]
        constants = {
            "STEP_COUNT": len(plan.steps),
            "MOST_PLACES": max([len(step.places) for step in plan.steps], default=1) or 1,
            "OFFSET_COUNT": len(self.offsets),
            "SCRATCH_BYTES": max(scratch, 1),
        }
        parts: list[CStatement] = [
            Comment((f"{len(plan.steps)} steps, {len(unique)} kernels", f"externals: {', '.join(plan.externals)}")),
            Directive(f'#include "{"program_checked.h" if self.checked else "program.h"}"'),
            Directive(""),
        ]
        for unit in unique.values():
            parts += [*self._kernel(unit), Directive("")]
        parts += [Directive(f"#define TCOMP_{name} {value}") for name, value in constants.items()]
        parts += [
            DeclareArray("static const tcomp_place", "TCOMP_PLACES", len(places), tuple(places)),
            DeclareArray("static const tcomp_step", "TCOMP_STEPS", len(steps), tuple(steps)),
            *checks,
            Function(
                "static void",
                "tcomp_find_offsets",
                (Parameter("const int64_t*", "symbols"), Parameter("int64_t*", "offsets")),
                tuple(find_offsets),
            ),
            Directive("TCOMP_DEFINE_CHECKED_RUN" if self.checked else "TCOMP_DEFINE_RUN"),
        ]
        return print_c(tuple(parts))

    def _code(self, index: Index) -> CExpression:
        return scalar_code(index, {}, self.bounds, self.symbols)

    def _kernel(self, unit: KernelUnit) -> list[CStatement]:
        """The declaration of a kernel, and the two functions through which the tables reach it."""
        parameters = tuple(Parameter(p.type, "") for p in kernel_parameters(unit.kernel))
        unknown = [s.name for s in unit.kernel.symbols if s.name not in self.symbols]
        if unknown:
            raise VerifyError(
                f"kernel {unit.kernel.name} needs the symbol {unknown[0]}, which the plan does not have",
                where=f"plan for {', '.join(s.name for s in self.plan.symbols) or 'no symbols'}",
                help="declare it in the plan",
            )
        arguments: list[CExpression] = [
            Convert(parameters[i].type.removesuffix(" restrict"), Subscript(Name("at"), Integer(i)))
            for i in range(len(unit.kernel.arguments))
        ]
        arguments += [self.symbols[s.name] for s in unit.kernel.symbols]
        arguments += [Name("scratch")] if scratch_bytes(unit.kernel) else []
        arguments += [Name(FAULT)] if find_checks(unit.kernel) else []
        arguments += [Name("begin"), Name("end")]
        return [
            Function("void", unit.symbol, parameters, None),
            Function("static void", f"call_{unit.symbol}", _CALL, (Evaluate(call(unit.symbol, *arguments)),)),
            Function(
                "static int64_t",
                f"count_{unit.symbol}",
                (Parameter("const int64_t*", "symbols"),),
                (Return(self._code(instances(unit.kernel))),),
            ),
        ]

    def _tables(self) -> tuple[list[CExpression], list[CExpression]]:
        """The rows of the steps and of their places."""
        steps: list[CExpression] = []
        places: list[CExpression] = []
        checks = 0
        waits = find_barriers(self.plan, {name: unit.kernel for name, unit in self.units.items()})
        for step, wait in zip(self.plan.steps, waits):
            symbol = self.units[step.kernel].symbol
            numbers = (Integer(len(places)), Integer(len(step.places)), Integer(int(wait)), Integer(checks))
            steps.append(Braces((Name(f"call_{symbol}"), Name(f"count_{symbol}"), *numbers)))
            places += [self._place(place) for place in step.places]
            checks += len(find_checks(self.units[step.kernel].kernel))
        return steps, places

    def _check_tables(self) -> tuple[CStatement, ...]:
        """What checks of kernels need beside: role and size of every place, and the kernels' names."""
        kernels = [self.units[step.kernel].kernel for step in self.plan.steps]
        extents: list[CExpression] = [
            Braces((Name(f"TCOMP_{argument.role.upper()}"), *self._number(span_bytes(argument.dtype, argument.shape, argument.strides))))
            for kernel in kernels
            for argument in kernel.arguments
        ]
        names: list[CExpression] = [call("TCOMP_NAME", Name(self.units[step.kernel].symbol)) for step in self.plan.steps]
        return (
            DeclareArray("static const tcomp_extent", "TCOMP_EXTENTS", len(extents), tuple(extents)),
            DeclareArray("static const char* const", "TCOMP_NAMES", len(names), tuple(names)),
        )

    def _place(self, place: Place) -> CExpression:
        base = -1 if place.base == ARENA else self.plan.externals.index(place.base)
        return Braces((Integer(base), *self._number(place.offset)))

    def _number(self, index: Index) -> tuple[Integer, Integer]:
        """A number of bytes: that among the computed ones if it depends on symbols, else -1, and itself."""
        if index.is_constant:
            return Integer(-1), Integer(index.constant)
        return Integer(self.offsets.setdefault(index, len(self.offsets))), Integer(0)


@dataclass(frozen=True, slots=True)
class _Touch:
    """The bytes [start, stop) of a base, and whether they are written."""

    base: str
    start: Index
    stop: Index
    writes: bool


def find_barriers(plan: Plan, kernels: Mapping[str, Kernel]) -> list[bool]:
    """Which steps have to wait for those before them: the ones that touch bytes another step since the last barrier touches.

    Two steps may share what both only read. Different externals are taken to be different memory.
    """
    bounds = Bounds({}, {s.name: (s.low, s.high) for s in plan.symbols})
    waits: list[bool] = []
    open_: list[_Touch] = []
    for step in plan.steps:
        touches = _touches(step, kernels[step.kernel])
        conflicts = any(_conflicts(a, b, bounds) for a in touches for b in open_)
        open_ = touches if conflicts else open_ + touches
        waits.append(conflicts)
    return waits


def _touches(step: Step, kernel: Kernel) -> list[_Touch]:
    if len(step.places) != len(kernel.arguments):
        raise VerifyError(
            f"kernel {kernel.name} has {len(kernel.arguments)} arguments and is called with {len(step.places)} places",
            where=f"step of {step.kernel}",
        )
    return [
        _Touch(place.base, place.offset, place.offset + span_bytes(argument.dtype, argument.shape, argument.strides), argument.role != "in")
        for place, argument in zip(step.places, kernel.arguments)
    ]


def _conflicts(a: _Touch, b: _Touch, bounds: Bounds) -> bool:
    if a.base != b.base or not (a.writes or b.writes):
        return False
    return not (_is_at_most(a.stop, b.start, bounds) or _is_at_most(b.stop, a.start, bounds))


def _is_at_most(a: Index, b: Index, bounds: Bounds) -> bool:
    low = interval(b - a, bounds)[0]
    return low is not None and low >= 0
