"""The pipeline, from a cascade to kernels and a plan.

    cascade  -> simpler cascade     CASCADE_PASSES, in order, each on the result of the one before
             -> ranks normalised    unit dimensions dropped, divided ranks split
             -> positions expanded  constants of positions larger than a cache are computed where they are read
             -> operands prepared   for a CPU: padding and packing made explicit
             -> prelude and main    what depends on weights alone is computed once
             -> groups              one per kernel, wide inside; for a CPU maps made in their one reader, for a GPU packed weights;
                                    long reductions with few results split
             -> steps               of how many steps memory has what an iteration stores; for a CPU long iterations in windows
             -> layouts             where each tensor's dimensions lie
             -> schedule, kernels   one tile program a group, equal ones shared
             -> plan                for a CPU, results written over what dies where memory is needed most; addresses in the arena;
                                    other orders, places and results in place until a budget is met, if there is one;
                                    `tcomp.ir.check.plan` proves that memory suffices
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.errors import Illegal, VerifyError
from tcomp.ir.expressions import Index
from tcomp.ir.plan import MatrixProduct
from tcomp.ir.schedule import GroupSchedule, KernelSchedule, Packing, Schedule
from tcomp.ir.target import Cpu, Gpu, Target
from tcomp.ir.tile import Kernel, contiguous_strides
from tcomp.passes.bind.arguments import Memory, Operand
from tcomp.passes.bind.layout import dense_strides, lay_out
from tcomp.passes.bind.windows import open_windows, run_windows
from tcomp.passes.cascade.absorb import absorb_maps
from tcomp.passes.cascade.affine import fold_affine
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.extremes import ask_extremes
from tcomp.passes.cascade.factors import gather_factors
from tcomp.passes.cascade.fold import fold_weights
from tcomp.passes.cascade.inline import inline_views
from tcomp.passes.cascade.normalise import normalise_ranks
from tcomp.passes.cascade.operands import prepare_operands
from tcomp.passes.cascade.order import order_contractions
from tcomp.passes.cascade.positions import expand_positions
from tcomp.passes.cascade.reroll.reroll import reroll
from tcomp.passes.cascade.share import share_einsums
from tcomp.passes.cascade.simplify import simplify, simplify_strictly
from tcomp.passes.check import check_program
from tcomp.passes.choose import Guess, Measure
from tcomp.passes.decisions import Decisions, Layouts, PartDecisions, Placed
from tcomp.passes.einsums.group import Group
from tcomp.passes.given import Given
from tcomp.passes.groups.apart import take_apart
from tcomp.passes.groups.chain import chain_groups
from tcomp.passes.groups.parts import split_groups
from tcomp.passes.groups.prologue import attach_prologues, find_prologues, without
from tcomp.passes.groups.rolling import roll_steps
from tcomp.passes.groups.rows import split_rows
from tcomp.passes.groups.scatter import expand_scatters
from tcomp.passes.groups.sink import sink_maps
from tcomp.passes.groups.widen import widen_groups
from tcomp.passes.kinds.kind import Kinds
from tcomp.passes.kinds.table import KINDS
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.plan.plan import make_plan
from tcomp.passes.program import Compiled, Observer, Program

CascadePass = Callable[[Cascade], Cascade]

CASCADE_PASSES: tuple[CascadePass, ...] = (
    inline_views,  # views vanish, so that what follows sees who really reads what
    drop_dead,  # the views themselves, which stand between the steps of unrolled loops
    reroll,  # before anything else is spent on copies, or makes them differ
    simplify,  # indices read through views bring masks and conversions that their ranges decide
    ask_extremes,  # before equal einsums are shared: the maximum asked for may be that of a softmax
    order_contractions,  # products of many factors become pairs, which may be common
    share_einsums,  # equal einsums show only once names of views are gone
    gather_factors,  # an operand that several contractions share stays as it is
    fold_affine,  # a contraction has one reader only once common ones are shared
    drop_dead,  # whatever lost its readers goes
    absorb_maps,  # only now is it known what nothing but an iteration reads
)

STRICT_PASSES: tuple[CascadePass, ...] = (
    inline_views,
    drop_dead,
    reroll,
    simplify_strictly,
    ask_extremes,
    share_einsums,
    drop_dead,
    absorb_maps,
)
"""The passes that keep every rounding of the cascade as it is written."""

DIGITS = 12
"""Of a cascade's digest."""

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
    if schedule.cascade not in ("", digest_of(cascade)):
        raise Illegal(
            f"the schedule is for another cascade, {schedule.cascade}, than {digest_of(cascade)}",
            where="schedule",
            help="print the schedule of this module with inputs of these sizes, and edit that",
            clause=("of",),
        )
    compiled = _compile(cascade, strides or {}, target, Given(schedule, target, otherwise, kinds), observe, strict=strict)
    for program, inside in ((compiled.prelude, ("prelude",)), (compiled.main, ())):
        try:
            check_program(program)
        except VerifyError as error:
            clause = (*inside, "arena" if program.schedule.addresses else "kernel")
            raise Illegal(error.what, where=error.where, help="give tensors that live at once other addresses", clause=clause) from error
    return compiled


def digest_of(cascade: Cascade) -> str:
    """What a schedule says of the cascade that it is for."""
    return hashlib.sha256(str(cascade).encode()).hexdigest()[:DIGITS]


def _compile(
    cascade: Cascade, strides: Mapping[str, tuple[Index, ...]], target: Target, decide: Decisions, observe: Observer, *, strict: bool
) -> Compiled:
    observe("cascade", cascade)
    source = cascade
    for run in STRICT_PASSES if strict else CASCADE_PASSES:
        cascade = run(cascade)
        observe(run.__name__, cascade)
    outside = {n: strides.get(n) or contiguous_strides(t.shape) for n, t in _external(cascade).items()}
    cascade, outside = normalise_ranks(cascade, outside)
    cascade = inline_views(cascade)
    observe("normalise_ranks", cascade)
    cascade, expanded = expand_positions(cascade, decide.is_expanded)
    cascade = drop_dead(cascade)
    observe("expand_positions", cascade)
    pinned: Collection[str] = ()
    packings: tuple[Packing, ...] = ()
    if isinstance(target, Cpu):
        whole = cascade
        cascade, pinned, packings = prepare_operands(whole, lambda einsum, static: decide.choose_packing(einsum, static, whole))
        cascade = drop_dead(cascade)
        observe("prepare_operands", cascade)
    prologues = find_prologues(cascade, decide.is_prologue) if isinstance(target, Gpu) else {}
    cascade = drop_dead(_with_expanded(cascade, prologues))
    prelude, main = fold_weights(cascade, prologues)
    observe("prelude", prelude)
    observe("main", main)
    outside.update(_separate_copies(prelude, main, outside))
    first = build(prelude, outside, target, decide.of_prelude(prelude), observe, pinned=pinned, strict=strict)
    second = build(main, outside, target, decide.of_main(main), observe, pinned=pinned, prologues=prologues, strict=strict)
    schedule = replace(
        second.schedule,
        expanded=expanded,
        prologues=tuple(prologues),
        packings=packings,
        prelude=first.schedule if first.schedule.kernels else None,
        cascade=digest_of(source),
    )
    return Compiled(source, first, second, schedule)


def _separate_copies(
    prelude: Cascade, main: Cascade, outside: Mapping[str, tuple[Index, ...]]
) -> dict[str, tuple[Index, ...]]:
    """Strides of results that are copied from folded values, and of those: in the result's order, without its gaps."""
    made = prelude.tensors()
    copied = {n: s for n, s in outside.items() if f"{n}.out" in main.outputs}
    dense = {n: dense_strides(made[n].shape, s) for n, s in copied.items()}
    return dense | {f"{n}.out": s for n, s in copied.items()}


def _with_expanded(cascade: Cascade, prologues: Mapping[str, Einsum]) -> Cascade:
    """The cascade with the expressions of prologues over weights alone."""
    if not prologues:
        return cascade
    return cascade.with_statements(tuple(prologues.get(s.name, s) if isinstance(s, Einsum) else s for s in cascade.statements))


def _external(cascade: Cascade) -> dict[str, Tensor]:
    tensors = cascade.tensors()
    return {n: tensors[n] for n in (*(t.name for t in cascade.inputs), *cascade.outputs)}


def build(
    cascade: Cascade,
    strides: Mapping[str, tuple[Index, ...]],
    target: Target,
    decide: PartDecisions,
    observe: Observer = ignore,
    *,
    pinned: Collection[str] = (),
    prologues: Mapping[str, Einsum] | None = None,
    strict: bool = False,
) -> Program:
    """Fuse, lay out, schedule and lower one cascade; tensors in `pinned` keep the order of their dimensions in memory.

    Maps in `prologues` are computed where contractions read them.
    """
    memories = {
        name: Memory(t.dtype, t.shape, strides.get(name) or contiguous_strides(t.shape))
        for name, t in _external(cascade).items()
    }
    external = frozenset(memories)
    groups, fates = _form_groups(cascade, target, decide, prologues or {}, strict=strict)
    observe("groups", groups)
    layouts = Layouts(memories, lay_out(groups, memories, decide.choose_order, pinned))
    found: list[Candidate] = []
    for group, seen, steps in run_windows(groups, memories):
        chosen = decide.choose(group, seen, steps, layouts)
        found += chosen
        if [candidate.group.names for candidate in chosen] != [group.names]:
            fates.append(GroupSchedule(_without(group.names, prologues), "apart"))
    placed = decide.place(found, memories, external)
    kernels: dict[str, Kernel] = {}
    known: dict[tuple[Kernel, MatrixProduct | None], str] = {}
    schedules: list[KernelSchedule] = []
    steps_: list[tuple[str, tuple[tuple[str, Index], ...]]] = []
    products: dict[str, MatrixProduct] = {}
    for candidate in placed.kernels:
        key = candidate.kernel, candidate.product
        name = known.get(key) or _unique_name(candidate.kernel, kernels)
        if name not in kernels:
            known[key] = name
            kernels[name] = replace(candidate.kernel, name=name)
            products.update({name: candidate.product} if candidate.product is not None else {})
            observe("kernel", kernels[name])
        schedules.append(replace(candidate.schedule, name=name))
        steps_.append((name, tuple(_place_of(operand) for operand in candidate.operands)))
    plan = make_plan(cascade, steps_, placed.addresses, placed.arena)
    schedule = _tell(cascade, placed, schedules, fates, layouts, target)
    observe("schedule", schedule)
    observe("plan", plan)
    program = Program(
        cascade,
        groups=tuple(candidate.group for candidate in placed.kernels),
        schedule=schedule,
        kernels=tuple(kernels.items()),
        plan=plan,
        steps=tuple(name for name, _ in steps_),
        products=tuple(products.items()),
        operands=tuple(tuple(tensor for tensor, _ in operands) for _, operands in steps_),
        memories=tuple(memories.items()),
    )
    observe("memory", program)
    return program


def _form_groups(
    cascade: Cascade, target: Target, decide: PartDecisions, expanded: Mapping[str, Einsum], *, strict: bool
) -> tuple[tuple[Group, ...], list[GroupSchedule]]:
    """The einsums of each kernel, and what became of groups that are none; maps in `expanded` are computed where contractions read them."""
    fates: list[GroupSchedule] = []

    def cut(group: Group, found: tuple[str, int] | None) -> tuple[str, int] | None:
        if found is not None:
            fates.append(GroupSchedule(_without(group.names, expanded), "parts", found))
        return found

    groups = attach_prologues(decide.fuse(without(cascade, expanded)), expanded)
    if isinstance(target, Cpu):
        sunk = decide.choose_sinking(groups)
        groups, gone = sink_maps(groups, cascade, sunk) if sunk else (groups, ())
        fates += [GroupSchedule(group.names, "sink") for group in gone]
    groups = groups if strict else widen_groups(groups, cascade, decide.is_wide)
    groups = chain_groups(groups, cascade, target, decide.is_chained, strict=strict)
    if isinstance(target, Gpu):
        groups = split_groups(groups, cascade, lambda group, einsum: cut(group, decide.choose_parts(group, einsum)))
        apart = [(group, take_apart(group) if decide.is_apart(group) else None) for group in groups]
        fates += [GroupSchedule(_without(group.names, expanded), "apart") for group, parts in apart if parts is not None]
        groups = expand_scatters(tuple(part for group, parts in apart for part in parts or (group,)))
    else:
        groups = split_rows(groups, cascade, lambda group: cut(group, decide.choose_cut(group)))
    groups = roll_steps(decide.arrange(groups), cascade.outputs, target)
    return (open_windows(groups, cascade.outputs, decide.choose_window) if isinstance(target, Cpu) else groups), fates


def _without(names: Iterable[str], others: Collection[str] | None) -> tuple[str, ...]:
    return tuple(name for name in names if name not in (others or ()))


def _tell(
    cascade: Cascade,
    placed: Placed,
    kernels: Sequence[KernelSchedule],
    fates: Sequence[GroupSchedule],
    layouts: Layouts,
    target: Target,
) -> Schedule:
    """The schedule of a program that has been made."""
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    groups = [candidate.group for candidate in placed.kernels]
    parts = [part for group in groups for part in (group.parts or (group,))]
    wide = (name for part in parts for e in part.members for name, dtype in e.targets if dtypes.get(name, dtype) != dtype)
    return Schedule(
        tuple(
            replace(kernel, parts=tuple(len(part.names) for part in candidate.group.parts))
            for kernel, candidate in zip(kernels, placed.kernels)
        ),
        tuple(layouts.orders.items()),
        tuple(placed.addresses.items()),
        target.name,
        groups=tuple(fates),
        wide=tuple(dict.fromkeys(wide)),
        held=tuple(dict.fromkeys(name for group in groups for name in group.names if name in group.held)),
        again=tuple(dict.fromkeys(name for group in groups for name in group.names if name in group.again)),
        arena=placed.arena if placed.addresses else None,
    )


def _place_of(operand: Operand) -> tuple[str, Index]:
    """The tensor of an operand and the byte offset of its view."""
    return operand.tensor, operand.memory.offset * operand.memory.dtype.bytes


def _unique_name(kernel: Kernel, taken: Mapping[str, Kernel]) -> str:
    """The kernel's own name and a digest of its text."""
    digest = hashlib.sha256(str(kernel).encode()).hexdigest()
    for length in range(6, 65):
        name = f"{kernel.name}_{digest[:length]}"
        if name not in taken:
            return name
    raise AssertionError("two kernels with one digest")
