"""The pipeline, from a cascade to kernels and a plan: PIPELINE, in order.

Rows on a *cascade* rewrite it by algebra. Rows on *operands* prepare what contractions read, and end with two cascades, what is computed
once and what at every call. Rows on *kernels* take each of these to kernels that lie somewhere in memory. What is to be decided,
`tcomp.passes.decisions` lists; a guess decides (`compile_cascade`), or a schedule (`apply`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tcomp.ir.cascade import Cascade
from tcomp.ir.errors import Illegal, VerifyError
from tcomp.ir.expressions import Index
from tcomp.ir.plan import MatrixProduct
from tcomp.ir.schedule import Schedule
from tcomp.ir.target import Cpu, Gpu, Target
from tcomp.ir.tile import Kernel
from tcomp.passes import steps
from tcomp.passes.bind.arguments import Operand
from tcomp.passes.cascade.absorb import absorb_maps
from tcomp.passes.cascade.affine import fold_affine
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.extremes import ask_extremes
from tcomp.passes.cascade.factors import gather_factors
from tcomp.passes.cascade.inline import inline_views
from tcomp.passes.cascade.order import order_contractions
from tcomp.passes.cascade.reroll.reroll import reroll
from tcomp.passes.cascade.share import share_einsums
from tcomp.passes.cascade.simplify import simplify, simplify_strictly
from tcomp.passes.check import check_program
from tcomp.passes.choose import Guess, Measure
from tcomp.passes.decisions import Decisions
from tcomp.passes.given import Given
from tcomp.passes.kinds.kind import Kinds
from tcomp.passes.kinds.table import KINDS
from tcomp.passes.plan.plan import make_plan
from tcomp.passes.program import Compiled, Observer, Program
from tcomp.passes.state import Part, Whole

Numerics = Literal["default", "strict"]


@dataclass(frozen=True, slots=True)
class Pass:
    """A row of the pipeline: what runs, on what, and why it stands where it does."""

    on: Literal["cascade", "operands", "kernels"]
    run: Callable[[Any], Any]
    why: str
    targets: tuple[type, ...] = (Cpu, Gpu)
    numerics: tuple[Numerics, ...] = ("default", "strict")
    """With which it runs; if they are strict, no rounding may be changed but those of sums, which associate in any order."""

    @property
    def name(self) -> str:
        """The name of the function that runs, by which observers know the pass."""
        return self.run.__name__


PIPELINE: tuple[Pass, ...] = (
    Pass("cascade", inline_views, "views vanish, so that what follows sees who really reads what"),
    Pass("cascade", drop_dead, "the views themselves, which stand between the steps of unrolled loops"),
    Pass("cascade", reroll, "before anything else is spent on copies, or makes them differ"),
    Pass("cascade", simplify, "indices read through views bring masks and conversions that their ranges decide", numerics=("default",)),
    Pass("cascade", simplify_strictly, "the same by rules that change no rounding", numerics=("strict",)),
    Pass("cascade", ask_extremes, "before equal einsums are shared: the maximum asked for may be that of a softmax"),
    Pass("cascade", order_contractions, "products of many factors become pairs, which may be common", numerics=("default",)),
    Pass("cascade", share_einsums, "equal einsums show only once names of views are gone"),
    Pass("cascade", gather_factors, "an operand that several contractions share stays as it is", numerics=("default",)),
    Pass("cascade", fold_affine, "a contraction has one reader only once common ones are shared", numerics=("default",)),
    Pass("cascade", drop_dead, "whatever lost its readers goes"),
    Pass("cascade", absorb_maps, "only now is it known what nothing but an iteration reads"),
    Pass("operands", steps.normalise_ranks, "whatever still has unit dimensions keeps them for no reason"),
    Pass("operands", steps.expand_positions, "what is computed where it is read is not folded below"),
    Pass("operands", steps.prepare_operands, "padding and packing are einsums, so that those of weights fold", targets=(Cpu,)),
    Pass("operands", steps.expand_weights, "what a contraction computes itself is not folded below", targets=(Gpu,)),
    Pass("kernels", steps.fuse, "everything below is about kernels"),
    Pass("kernels", steps.sink_maps, "before other passes look at what a map reads", targets=(Cpu,)),
    Pass("kernels", steps.widen_groups, "what stays inside a kernel is known, and chains look at types", numerics=("default",)),
    Pass("kernels", steps.chain_groups, "a chain takes whole kernels"),
    Pass("kernels", steps.split_sums, "what is in a chain stays whole", targets=(Gpu,)),
    Pass("kernels", steps.take_apart, "what is computed in parts has no maps on its tile", targets=(Gpu,)),
    Pass("kernels", steps.expand_scatters, "parts of scatters have targets of their own to fill", targets=(Gpu,)),
    Pass("kernels", steps.split_rows, "what is in a chain stays whole", targets=(Cpu,)),
    Pass("kernels", steps.arrange, "all kernels are there"),
    Pass("kernels", steps.roll_steps, "who reads which step of an iteration is known"),
    Pass("kernels", steps.open_windows, "the steps that memory has depend on nothing later", targets=(Cpu,)),
    Pass("kernels", steps.lay_out, "how a kernel walks memory decides its lanes"),
    Pass("kernels", steps.choose_kernels, "memory is laid out"),
    Pass("kernels", steps.place, "which kernels live side by side is known, and which arguments each really has"),
)


def find_passes(on: str, target: Target, *, strict: bool) -> Iterator[Pass]:
    """The rows that run for a target."""
    numerics: Numerics = "strict" if strict else "default"
    return (row for row in PIPELINE if row.on == on and isinstance(target, row.targets) and numerics in row.numerics)


DIGITS = 12
"""Of a cascade's digest."""

SHORTEST = 6
"""Digits of a kernel's digest in its name."""


def ignore(stage: str, result: object) -> None:
    """An observer that looks away."""


def compile_cascade(
    cascade: Cascade,
    strides: Mapping[str, tuple[Index, ...]],
    target: Target,
    observe: Observer = ignore,
    *,
    strict: bool = False,
    atomic: bool = False,
    measure: Measure | None = None,
    budget: int | None = None,
) -> Compiled:
    """Compile a cascade whose inputs and outputs have the given strides (in elements; contiguous if not stated), as is best by guess.

    With `atomic` sums of floats into places that are data may be added in any order, where the target has atomic additions.
    With `measure`, which times kernels on the target, the fastest of several candidates are taken instead of the most promising.
    With `strict` no pass may change a rounding, sums excepted, which associate in any order.
    The arena of the main program has at most `budget` bytes, where one is given.
    Raises VerifyError when `observe` verifies and a pass broke the cascade, and BudgetError if no plan meets the budget.
    """
    return _compile(cascade, strides, target, Guess(target, strict, atomic, measure, budget), observe, strict=strict)


def guess(
    cascade: Cascade, target: Target, strides: Mapping[str, tuple[Index, ...]] | None = None, *, strict: bool = False, atomic: bool = False
) -> Schedule:
    """The schedule by which `compile_cascade` compiles a cascade."""
    return compile_cascade(cascade, strides or {}, target, strict=strict, atomic=atomic).schedule


def apply(
    cascade: Cascade,
    schedule: Schedule,
    target: Target,
    strides: Mapping[str, tuple[Index, ...]] | None = None,
    observe: Observer = ignore,
    *,
    strict: bool = False,
    otherwise: Decisions | None = None,
    kinds: Kinds = KINDS,
) -> Compiled:
    """Compile a cascade exactly as a schedule says: `apply(c, guess(c, t), t) == compile_cascade(c, {}, t)`.

    Loops of kernels that have no clause, and addresses if there are none, are decided `otherwise`: by nobody if it is None. Raises
    Illegal, with the clause of the schedule that it is about, where the schedule does not fit the cascade or the target.
    """
    if schedule.cascade not in ("", digest_of(cascade, strict=strict)):
        raise Illegal(
            f"the schedule is for another cascade: {schedule.cascade}, not {digest_of(cascade, strict=strict)}",
            where="schedule",
            help="print the schedule of this module with inputs of these sizes, and edit that",
            clause=("of",),
        )
    compiled = _compile(cascade, strides or {}, target, Given(schedule, target, otherwise, kinds), observe, strict=strict)
    for program, inside in ((compiled.prelude, ("prelude",)), (compiled.main, ())):
        try:
            check_program(program)
        except VerifyError as error:
            name = error.what.split()[0]
            clause = ("address", name) if name in dict(program.schedule.addresses) else ("arena",)
            help = "give tensors that live at once other addresses, or leave out all addresses and the arena: then they are planned"
            raise Illegal(error.what, where=error.where, help=help, clause=(*inside, *clause)) from error
    return compiled


def digest_of(cascade: Cascade, *, strict: bool = False) -> str:
    """What a schedule says of the cascade that it is for, and of the numerics."""
    text = f"strict {cascade}" if strict else str(cascade)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _compile(
    cascade: Cascade, strides: Mapping[str, tuple[Index, ...]], target: Target, decide: Decisions, observe: Observer, *, strict: bool
) -> Compiled:
    observe("cascade", cascade)
    source = cascade
    for row in find_passes("cascade", target, strict=strict):
        cascade = row.run(cascade)
        observe(row.name, cascade)
    whole = Whole(cascade, strides, target, decide)
    for row in find_passes("operands", target, strict=strict):
        whole = row.run(whole)
        observe(row.name, whole.cascade)
    parts = steps.split_weights(whole, is_strict=strict)
    for name, part in zip(("prelude", "main"), parts):
        observe(name, part.cascade)
    prelude, main = (_make_kernels(part, observe) for part in parts)
    schedule = replace(
        main.schedule,
        expanded=whole.expanded,
        prologues=tuple(whole.prologues),
        packings=whole.packings,
        prelude=prelude.schedule if prelude.schedule.kernels else None,
        cascade=digest_of(source, strict=strict),
    )
    observe("schedule", schedule)
    return Compiled(source, prelude, main, schedule)


def _make_kernels(part: Part, observe: Observer) -> Program:
    for row in find_passes("kernels", part.target, strict=part.is_strict):
        before, part = part, row.run(part)
        if part.groups is not before.groups or part.kernels is not before.kernels:
            observe(row.name, part)
    return _finish(part, observe)


def _finish(part: Part, observe: Observer) -> Program:
    """Name the kernels, equal ones alike, and write down what was decided and what it comes to."""
    assert part.placed is not None and part.layouts is not None
    kernels: dict[str, Kernel] = {}
    known: dict[tuple[Kernel, MatrixProduct | None], str] = {}
    names: list[str] = []
    products: dict[str, MatrixProduct] = {}
    for candidate in part.placed.kernels:
        key = candidate.kernel, candidate.product
        name = known.get(key) or _unique_name(candidate.kernel, kernels)
        if name not in kernels:
            known[key] = name
            kernels[name] = replace(candidate.kernel, name=name)
            products.update({name: candidate.product} if candidate.product is not None else {})
            observe("kernel", kernels[name])
        names.append(name)
    calls = [(name, tuple(map(_place_of, candidate.operands))) for name, candidate in zip(names, part.placed.kernels)]
    plan = make_plan(part.cascade, calls, part.placed.addresses, part.placed.arena)
    schedule = _tell(part, names)
    observe("schedule", schedule)
    observe("plan", plan)
    program = Program(
        part.cascade,
        groups=tuple(candidate.group for candidate in part.placed.kernels),
        schedule=schedule,
        kernels=tuple(kernels.items()),
        plan=plan,
        steps=tuple(names),
        products=tuple(products.items()),
        operands=tuple(tuple(tensor for tensor, _ in operands) for _, operands in calls),
        memories=tuple(part.layouts.memories.items()),
    )
    observe("memory", program)
    return program


def _tell(part: Part, names: list[str]) -> Schedule:
    """The schedule of kernels that have been made."""
    assert part.placed is not None and part.layouts is not None
    dtypes = {name: tensor.dtype for name, tensor in part.cascade.tensors().items()}
    candidates = part.placed.kernels
    groups = [candidate.group for candidate in candidates]
    members = [e for group in groups for inner in (group.parts or (group,)) for e in inner.members]
    return Schedule(
        tuple(
            replace(candidate.schedule, name=name, parts=tuple(len(inner.names) for inner in candidate.group.parts))
            for name, candidate in zip(names, candidates)
        ),
        tuple(part.layouts.orders.items()),
        tuple(part.placed.addresses.items()),
        part.target.name,
        groups=part.fates,
        wide=tuple(dict.fromkeys(name for e in members for name, dtype in e.targets if dtypes.get(name, dtype) != dtype)),
        held=tuple(dict.fromkeys(name for group in groups for name in group.names if name in group.held)),
        again=tuple(dict.fromkeys(name for group in groups for name in group.names if name in group.again)),
        arena=part.placed.arena if part.placed.addresses else None,
    )


def _place_of(operand: Operand) -> tuple[str, Index]:
    """The tensor of an operand and the byte offset of its view."""
    return operand.tensor, operand.memory.offset * operand.memory.dtype.bytes


def _unique_name(kernel: Kernel, taken: Mapping[str, Kernel]) -> str:
    """The kernel's own name and a digest of its text."""
    digest = hashlib.sha256(str(kernel).encode()).hexdigest()
    for length in range(SHORTEST, len(digest) + 1):
        name = f"{kernel.name}_{digest[:length]}"
        if name not in taken:
            return name
    raise AssertionError("two kernels with one digest")
