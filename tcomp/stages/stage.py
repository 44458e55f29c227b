"""Compile one supported part of a graph: lower it, run the pipeline, build its libraries."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch.fx import GraphModule, Node

from tcomp.codegen.checks import indexes_by_data, program_checks
from tcomp.debug import Dump
from tcomp.ir.cascade import Cascade
from tcomp.ir.errors import Illegal, ParseError, Unsupported
from tcomp.ir.expressions import Index, as_index
from tcomp.ir.plan import ARENA
from tcomp.machine.devices import choose_backend
from tcomp.options import Options
from tcomp.passes.check import check_program
from tcomp.passes.choose import Guess
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.program import Compiled
from tcomp.passes.program import Program as Kernels
from tcomp.program.kernels import AnyLibrary, Check
from tcomp.program.program import CompiledStage, Constant, Operand, Slot
from tcomp.program.sizes import TensorSpec, count_bytes, element_strides
from tcomp.settings import Settings
from tcomp.stages.faults import Fault, contain
from tcomp.stages.lower_graph import lower_graph
from tcomp.stages.makers import CMaker, TritonMaker
from tcomp.stages.report import make_report
from tcomp.stages.schedules import apply_text


@dataclass(frozen=True, slots=True)
class StageInput:
    """A tensor a part reads: where it comes from and what memory it has. A weight keeps its value between calls."""

    operand: Operand
    spec: TensorSpec
    is_weight: bool


@dataclass(frozen=True, slots=True)
class StageOutput:
    """A tensor others read of a part: the memory it is to have, and the slot it may fill."""

    node: Node
    spec: TensorSpec


@dataclass(frozen=True, slots=True)
class StageResult:
    """A compiled part, where each output is found, and which outputs are tensors made for that purpose alone."""

    stage: CompiledStage
    operands: tuple[Operand, ...]
    fresh: tuple[bool, ...]


def compile_stage(
    graph: GraphModule,
    inputs: Sequence[StageInput],
    outputs: Sequence[StageOutput],
    first_slot: int,
    device: torch.device,
    options: Options,
    settings: Settings,
) -> StageResult | Fault:
    """Compile a graph whose tensor inputs and outputs are described in its order; results go to slots from `first_slot` on.

    `device` is where all tensors are. Returns a Fault where tcomp itself fails. Raises Unsupported for the first operator that has no
    lowering, ToolchainError if nothing compiles, BudgetError, Illegal for a schedule that does not fit, and any error with
    fallback="error".
    """
    cascade = contain(functools.partial(lower_graph, graph), options, settings, passing=(Unsupported,))
    if isinstance(cascade, Fault):
        Dump(settings.debug_dir).write("fault", cascade.trace)
        return cascade
    cascade = replace(
        cascade, inputs=tuple(replace(tensor, weight=given.is_weight) for tensor, given in zip(cascade.inputs, inputs, strict=True))
    )
    sources = {tensor.name: given.operand for tensor, given in zip(cascade.inputs, inputs)}
    specs = {tensor.name: given.spec for tensor, given in zip(cascade.inputs, inputs)}
    operands: list[Operand] = []
    fresh: list[bool] = []
    made: dict[str, tuple[int, TensorSpec]] = {}
    for name, output in zip(cascade.outputs, outputs, strict=True):
        fresh.append(name not in sources and name not in made)
        if name in sources:
            operands.append(sources[name])
            continue
        slot, _ = made.setdefault(name, (first_slot + len(made), output.spec))
        operands.append(Slot(slot))
    cascade = replace(cascade, outputs=tuple(made))
    strides = {name: element_strides(spec) for name, spec in specs.items()}
    strides.update((name, element_strides(spec)) for name, (_, spec) in made.items())
    maker = TritonMaker(device, options, settings) if choose_backend(options, device) == "triton" else CMaker(options, settings)
    dump = Dump(settings.debug_dir)
    # A schedule that does not fit is for the user to mend.
    passing = (Illegal, ParseError) if options.schedule is not None else ()
    stage = contain(lambda: _build_stage(cascade, strides, sources, specs, made, maker, options, dump), options, settings, passing=passing)
    if isinstance(stage, Fault):
        dump.write("fault", stage.trace)
        return stage
    return StageResult(stage, tuple(operands), tuple(fresh))


def _build_stage(
    cascade: Cascade,
    strides: Mapping[str, tuple[Index, ...]],
    sources: Mapping[str, Operand],
    specs: Mapping[str, TensorSpec],
    made: Mapping[str, tuple[int, TensorSpec]],
    maker: CMaker | TritonMaker,
    options: Options,
    dump: Dump,
) -> CompiledStage:
    strict, atomic = options.numerics == "strict", options.scatter == "atomic"
    if options.schedule is not None:
        guess = Guess(maker.target, strict, atomic, budget=options.memory_budget)
        compiled = apply_text(cascade, options.schedule, strides, guess, dump.write)
    else:
        compiled = compile_cascade(
            cascade,
            strides,
            maker.target,
            observe=dump.write,
            strict=strict,
            atomic=atomic,
            measure=maker.measure,
            budget=options.memory_budget,
        )
    memories = dict(compiled.prelude.memories)
    folded = {name: memories[name].bytes.constant for name in compiled.prelude.cascade.outputs}
    written = set(compiled.main.cascade.outputs)
    results = tuple((name if name in written else f"{name}.out", slot, spec) for name, (slot, spec) in made.items())
    _check_memory(compiled, specs, folded, results)
    inputs = {name: source.name if isinstance(source, Constant) else name for name, source in sources.items()}
    with ThreadPoolExecutor(max_workers=2) as pool:
        prelude = pool.submit(_build, compiled.prelude, inputs, maker)
        main = pool.submit(_build, compiled.main, inputs, maker)
        libraries = prelude.result(), main.result()
    report = functools.cache(functools.partial(make_report, compiled, maker.print_kernel))
    if dump.is_wanted:
        for kernel in report().kernels:
            dump.write(f"{kernel.name}{maker.suffix}", kernel.source)
    return CompiledStage(sources, folded, results, specs, *libraries, report)


def _build(kernels: Kernels, inputs: Mapping[str, str], maker: CMaker | TritonMaker) -> AnyLibrary | None:
    return maker.make(kernels, _describe_checks(kernels, inputs)) if kernels.plan.steps else None


def _describe_checks(kernels: Kernels, inputs: Mapping[str, str]) -> tuple[Check, ...]:
    """The checks of a program in words; `inputs` says what the user calls the cascade's inputs."""
    found: list[Check] = []
    for check in program_checks(kernels.plan, dict(kernels.kernels)):
        members = [member for member in kernels.groups[check.step].members if indexes_by_data(member)]
        into = inputs.get(check.tensor, "" if check.tensor == ARENA else check.tensor)
        sources = dict.fromkeys(f"{member.name} {member.source}".rstrip() for member in members)
        found.append(Check(into or "an intermediate tensor", "\n".join(sources), check.extent))
    return tuple(found)


def _check_memory(
    compiled: Compiled, specs: Mapping[str, TensorSpec], folded: Mapping[str, int], results: Sequence[tuple[str, int, TensorSpec]]
) -> None:
    """Check that kernels stay inside the memory that calls will give them; raises VerifyError."""
    given = {name: count_bytes(spec) for name, spec in specs.items()}
    given.update((name, as_index(size)) for name, size in folded.items())
    check_program(compiled.prelude, given)
    check_program(compiled.main, given | {name: count_bytes(spec) for name, _, spec in results})
