"""Observers of the pipeline for tests and fuzzing: each stage is verified, or evaluated, and a failure names the pass."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy

from tcomp.ir.cascade import Cascade
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.check.plan import Allotment, PlanMemory, check_plan
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.check.tile import check_kernel
from tcomp.ir.errors import Illegal, VerifyError
from tcomp.ir.evaluate.arrays import Array
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.expressions import ZERO, Index
from tcomp.ir.plan import ARENA
from tcomp.ir.schedule import Schedule
from tcomp.ir.tile import Kernel
from tcomp.passes.groups.check import check_fact, check_groups
from tcomp.passes.lower.legal import check_bound
from tcomp.passes.program import Observer, Program
from tcomp.passes.state import Part

LARGEST_DIFFERENCE = 1e-9
"""Relative to the largest magnitude of an output: passes may reorder float64 roundings, and nothing else."""


def verifying_observer() -> Observer:
    """Return an observer that verifies every cascade, the groups, the schedule, every kernel and the plan.

    It raises VerifyError, naming the stage and showing the text before and after it.
    """
    before = ["nothing"]

    def observe(stage: str, result: object) -> None:
        try:
            if isinstance(result, Cascade):
                check_cascade(result)
            elif isinstance(result, Part):
                check_part(result)
            elif isinstance(result, Schedule):
                check_schedule(result)
            elif isinstance(result, Kernel):
                check_kernel(result)
            elif isinstance(result, Program):
                _check_proved(result)
        except VerifyError as error:
            raise VerifyError(
                f"{stage} broke a rule: {error.what}",
                where="\n".join([error.where, *_both(before[0], str(result))]),
                help=error.help,
            ) from error
        if isinstance(result, Cascade) and stage not in ("prelude", "main"):
            before[0] = str(result)

    return observe


def check_part(part: Part) -> None:
    """Check groups, on their way and bound to arguments, and that every kernel is scheduled as a schedule may say; raises VerifyError."""
    check_groups(part.groups, part.cascade)
    for candidate in part.kernels:
        check_fact(candidate.bound.group)
        try:
            check_bound(candidate.bound, candidate.schedule, part.target)
        except Illegal as error:
            raise VerifyError(error.what, where=error.where, help=error.help) from error


def _check_proved(program: Program) -> None:
    assumed = check_program(program)
    if assumed and not program.plan.symbols:
        raise VerifyError(f"it cannot be proved that {assumed[0]}", where=str(program.plan), help="teach tcomp.ir.prove, or mend it")


def check_program(program: Program, given: Mapping[str, Index] | None = None) -> tuple[str, ...]:
    """Check that a program stays inside its memory; returns what has to be assumed of symbolic sizes.

    `given` are the bytes that external tensors will have, without which they are taken to have what their strides need.
    Raises VerifyError.
    """
    addresses = dict(program.schedule.addresses)
    allotments = {
        name: Allotment(ARENA, addresses[name], addresses[name] + memory.bytes)
        if name in addresses
        else Allotment(name, ZERO, memory.bytes if given is None else given[name])
        for name, memory in program.memories
        if name in addresses or name in program.plan.externals
    }
    memory = PlanMemory(allotments, program.operands, program.cascade.outputs, dict(program.products))
    return check_plan(program.plan, dict(program.kernels), memory)


def evaluating_observer(inputs: Mapping[str, Array], symbols: Mapping[str, int] | None = None) -> Observer:
    """Return an observer that evaluates every cascade in float64 and compares its outputs with those of the stage before it.

    `inputs` are arrays for the inputs of the first cascade; `symbols` gives sizes that no input's shape shows. The observer raises
    VerifyError, naming the stage and showing the text before and after it. It can be used for one compilation.
    """
    evaluation = _Evaluation(inputs, symbols or {})
    return evaluation.observe


class _Evaluation:
    """What an evaluating observer knows: arrays of inputs and folded weights, and the last stage's text and outputs."""

    def __init__(self, inputs: Mapping[str, Array], symbols: Mapping[str, int]) -> None:
        self.arrays = dict(inputs)
        self.symbols = dict(symbols)
        self.before = ""
        self.expected: list[Array] = []

    def observe(self, stage: str, result: object) -> None:
        """Evaluate a cascade and compare; other stages pass."""
        if not isinstance(result, Cascade):
            return
        outputs = self._evaluate(stage, result)
        if stage == "prelude":
            self.arrays.update(outputs)
            return
        found = [outputs[name].reshape(-1) for name in result.outputs]
        if self.before:
            for name, got, want in zip(result.outputs, found, self.expected, strict=True):
                self._compare(stage, name, got, want, result)
        self.before, self.expected = str(result), found

    def _evaluate(self, stage: str, cascade: Cascade) -> dict[str, Array]:
        if not self.before:
            for tensor in cascade.inputs:
                for extent, length in zip(tensor.shape, self.arrays[tensor.name].shape):
                    if extent.as_variable is not None:
                        self.symbols.setdefault(extent.as_variable, length)
        arrays = {}
        for tensor in cascade.inputs:
            shape = tuple(extent_value(extent, self.symbols) for extent in tensor.shape)
            array = self.arrays[tensor.name]
            if array.size != prod(shape):
                raise VerifyError(f"{stage} made the shape {list(shape)} of {tensor.name}, which was {list(array.shape)}")
            arrays[tensor.name] = array.reshape(shape)
        return evaluate(cascade, arrays, self.symbols, float64=True)

    def _compare(self, stage: str, name: str, got: Array, want: Array, result: Cascade) -> None:
        message = describe_difference(got, want)
        if message is not None:
            raise VerifyError(f"{stage} changed the output {name}: {message}", where="\n".join(_both(self.before, str(result))))


def describe_difference(got: Array, want: Array) -> str | None:
    """Say how two flat arrays differ, None if they agree: floats up to roundings, infinities and NaN in the same places."""
    if got.shape != want.shape:
        return f"it has {got.size} elements, and had {want.size}"
    if want.dtype.kind != "f":
        wrong = got != want
    else:
        finite = numpy.isfinite(want)
        scale = float(numpy.abs(want[finite]).max(initial=0.0))
        with numpy.errstate(invalid="ignore"):
            wrong = numpy.where(
                finite,
                ~(numpy.abs(got - want) <= LARGEST_DIFFERENCE * max(scale, 1.0)),
                (got != want) & ~(numpy.isnan(got) & numpy.isnan(want)),
            )
    if not wrong.any():
        return None
    place = int(numpy.argmax(wrong))
    return f"element {place} is {got[place]}, and was {want[place]}"


def _both(before: str, after: str) -> list[str]:
    return ["before:", before, "after:", after]
