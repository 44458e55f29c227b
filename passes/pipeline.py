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
             -> in place            for a CPU, results written over what dies where memory is needed most
             -> plan                order of kernels, addresses in the arena; `tcomp.ir.check.plan` proves that memory suffices
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.expressions import Index
from tcomp.ir.plan import MatrixProduct, Plan
from tcomp.ir.schedule import KernelSchedule, Schedule
from tcomp.ir.target import Cpu, Gpu, Target
from tcomp.ir.tile import Kernel, contiguous_strides
from tcomp.passes.bind.arguments import Memory, Operand, bind_arguments, merge_ranks, print_memory
from tcomp.passes.bind.layout import choose_layouts, dense_strides
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
from tcomp.passes.choose import Chooser, Measure
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.chain import chain_groups
from tcomp.passes.groups.fuse import fuse
from tcomp.passes.groups.parts import split_groups
from tcomp.passes.groups.prologue import attach_prologues, find_prologues, without
from tcomp.passes.groups.rolling import roll_steps
from tcomp.passes.groups.rows import split_rows
from tcomp.passes.groups.scatter import expand_scatters
from tcomp.passes.groups.sink import sink_maps
from tcomp.passes.groups.widen import widen_groups
from tcomp.passes.kinds import lower_group
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.plan.greedy import place_tensors
from tcomp.passes.plan.in_place import write_in_place
from tcomp.passes.plan.lifetimes import find_lives
from tcomp.passes.plan.plan import make_plan
from tcomp.passes.schedule.cpu import choose_schedule

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

Observer = Callable[[str, object], None]
"""Called with the name of each stage and its result, for dumps and verification between passes."""


def ignore(stage: str, result: object) -> None:
    """An observer that looks away."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled cascade: kernels by name, in what order they run on which memory, and how that came about."""

    cascade: Cascade
    groups: tuple[Group, ...]
    schedule: Schedule
    kernels: tuple[tuple[str, Kernel], ...]
    plan: Plan
    steps: tuple[str, ...]
    """The kernel of each group, in order."""
    products: tuple[tuple[str, MatrixProduct], ...] = ()
    """Kernels that a library of matrix products computes, by name, and what it is to compute."""
    operands: tuple[tuple[str, ...], ...] = ()
    """The tensors that each step is given, in the order of its places."""
    memories: tuple[tuple[str, Memory], ...] = ()
    """How every tensor lies in memory, by name."""

    def __str__(self) -> str:
        """Where each tensor lies, which is what no other text of a compilation tells."""
        addresses = dict(self.schedule.addresses)
        return "\n".join(
            f"{name}: {print_memory(memory)} at {f'arena + {addresses[name]}' if name in addresses else name}"
            for name, memory in self.memories
        )


@dataclass(frozen=True, slots=True)
class Compiled:
    """The two programs of a cascade: `prelude` runs when weights change, `main` on every call."""

    source: Cascade
    prelude: Program
    main: Program


def compile_cascade(
    cascade: Cascade,
    strides: Mapping[str, tuple[Index, ...]],
    target: Target,
    observe: Observer = ignore,
    *,
    strict: bool = False,
    atomic: bool = False,
    measure: Measure | None = None,
) -> Compiled:
    """Compile a cascade whose inputs and outputs have the given strides (in elements; contiguous if not stated).

    With `atomic` sums of floats into places that are data may be added in any order, where the target has atomic additions.
    With `measure`, which times kernels on the target, the fastest of several candidates are taken instead of the most promising.
    With `strict` no pass may change a rounding, sums excepted, which associate in any order.
    Raises VerifyError when `observe` verifies and a pass broke the cascade.
    """
    observe("cascade", cascade)
    source = cascade
    for run in STRICT_PASSES if strict else CASCADE_PASSES:
        cascade = run(cascade)
        observe(run.__name__, cascade)
    outside = {n: strides.get(n) or contiguous_strides(t.shape) for n, t in _external(cascade).items()}
    cascade, outside = normalise_ranks(cascade, outside)
    cascade = inline_views(cascade)
    observe("normalise_ranks", cascade)
    cascade = drop_dead(expand_positions(cascade, target.l2))
    observe("expand_positions", cascade)
    pinned: Collection[str] = ()
    if isinstance(target, Cpu):
        cascade, pinned = prepare_operands(cascade, target)
        cascade = drop_dead(cascade)
        observe("prepare_operands", cascade)
    prologues = find_prologues(cascade) if isinstance(target, Gpu) else {}
    cascade = drop_dead(_with_expanded(cascade, prologues))
    prelude, main = fold_weights(cascade, prologues)
    observe("prelude", prelude)
    observe("main", main)
    outside.update(_separate_copies(prelude, main, outside))
    first, second = (
        build(part, outside, target, pinned, observe, strict=strict, atomic=atomic, prologues=prologues, measure=timed)
        # The prelude runs once: measuring its kernels would take longer than they ever will.
        for part, timed in ((prelude, None), (main, measure))
    )
    return Compiled(source, first, second)


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
    pinned: Collection[str] = (),
    observe: Observer = ignore,
    *,
    strict: bool = False,
    atomic: bool = False,
    prologues: Mapping[str, Einsum] | None = None,
    measure: Measure | None = None,
) -> Program:
    """Fuse, lay out, schedule and lower one cascade; tensors in `pinned` keep the order of their dimensions in memory.

    Maps in `prologues` are computed where contractions read them. Kernels for a GPU are chosen by what `measure` says of them.
    """
    memories = {
        name: Memory(t.dtype, t.shape, strides.get(name) or contiguous_strides(t.shape))
        for name, t in _external(cascade).items()
    }
    external = set(memories)
    groups = _form_groups(cascade, target, prologues or {}, strict=strict, atomic=atomic)
    observe("groups", groups)
    layouts = choose_layouts(groups, memories, static_tensors(cascade), pinned)
    kernels: dict[str, Kernel] = {}
    known: dict[tuple[Kernel, MatrixProduct | None], str] = {}
    schedules: list[KernelSchedule] = []
    steps: list[tuple[str, tuple[tuple[str, Index], ...]]] = []
    products: dict[str, MatrixProduct] = {}
    chosen = _choose(groups, cascade, memories, layouts, target, atomic, measure)
    homes: dict[str, str] = {}
    if isinstance(target, Cpu):
        # Less than a cache is not worth a kernel that is like another.
        chosen, homes = write_in_place(chosen, memories, external, target.l2)
    for found in chosen:
        key = found.kernel, found.product
        name = known.get(key) or _unique_name(found.kernel, kernels)
        if name not in kernels:
            known[key] = name
            kernels[name] = replace(found.kernel, name=name)
            products.update({name: found.product} if found.product is not None else {})
            observe("kernel", kernels[name])
        schedules.append(replace(found.schedule, name=name))
        steps.append((name, tuple(_place_of(operand) for operand in found.operands)))
    addresses, arena = place_tensors(find_lives(chosen, memories, external))
    plan = make_plan(cascade, steps, addresses, arena)
    addresses.update({name: addresses[home] for name, home in homes.items()})
    schedule_text = Schedule(tuple(schedules), tuple(layouts.items()), tuple(addresses.items()), target.name)
    observe("schedule", schedule_text)
    observe("plan", plan)
    program = Program(
        cascade,
        groups=tuple(found.group for found in chosen),
        schedule=schedule_text,
        kernels=tuple(kernels.items()),
        plan=plan,
        steps=tuple(name for name, _ in steps),
        products=tuple(products.items()),
        operands=tuple(tuple(tensor for tensor, _ in operands) for _, operands in steps),
        memories=tuple(memories.items()),
    )
    observe("memory", program)
    return program


def _form_groups(
    cascade: Cascade, target: Target, expanded: Mapping[str, Einsum], *, strict: bool, atomic: bool
) -> tuple[Group, ...]:
    """The einsums of each kernel; maps in `expanded` are computed where contractions read them."""
    groups = attach_prologues(fuse(without(cascade, expanded)), expanded)
    groups = sink_maps(groups, cascade) if isinstance(target, Cpu) else groups
    groups = groups if strict else widen_groups(groups, cascade)
    groups = chain_groups(groups, cascade, target, strict=strict)
    if isinstance(target, Gpu):
        groups = expand_scatters(split_groups(groups, cascade, target, is_atomic=atomic))
    else:
        groups = split_rows(groups, cascade)
    groups = roll_steps(groups, cascade.outputs, target)
    return open_windows(groups, cascade.outputs, target) if isinstance(target, Cpu) else groups


def _choose(
    groups: tuple[Group, ...],
    cascade: Cascade,
    memories: dict[str, Memory],
    layouts: dict[str, tuple[int, ...]],
    target: Target,
    atomic: bool,
    measure: Measure | None,
) -> list[Candidate]:
    """How each group is computed, kernel by kernel."""
    if isinstance(target, Gpu):
        chooser = Chooser(target, cascade.symbols, memories, static_tensors(cascade), atomic, measure, layouts)
        return [candidate for group in groups for candidate in chooser.choose(group)]
    found: list[Candidate] = []
    for group, seen, steps in run_windows(groups, memories):
        bound = merge_ranks(bind_arguments(group, seen))
        schedule = replace(choose_schedule(bound, target, "kernel"), steps=steps)
        found.append(Candidate(group, schedule, *lower_group(bound, schedule, cascade.symbols)))
    return found


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
