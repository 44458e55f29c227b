"""What every plan obeys, one function a rule; `check_plan` raises VerifyError at the first rule that is broken.

    each kernel's loads and stores stay inside the shapes of its arguments, buffers and blocks
    each argument stays inside the tensor that it is a view of, and that inside the memory it was given
    tensors that are alive at one step never share memory in the arena
    what a kernel writes overlaps nothing else that it is given
    a tensor is written before it is read, and every result is written

It takes nobody's word: sizes come from what will be allocated, lives from the steps themselves. What is wrong for all sizes that are
tried is refused, and what is proved is right. Between the two, where callers keep to conditions on symbolic sizes that are not known
here, or an index is too odd for `tcomp.ir.prove`, nothing is refused; it is told, as an assumption.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tcomp.ir.check.tile_bounds import UNBOUNDED_STEP, evaluate_at, find_outside, find_unproved
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import ZERO, Index, print_expression
from tcomp.ir.plan import ARENA, MatrixProduct, Plan, Step
from tcomp.ir.prove import Prover, symbol_ends
from tcomp.ir.tile import Argument, Kernel, span_bytes
from tcomp.ir.tile_scope import find_sites


@dataclass(frozen=True, slots=True)
class Allotment:
    """The memory a tensor is given: the bytes offset .. stop of an external tensor, which is itself, or of the arena."""

    base: str
    offset: Index
    stop: Index
    """The first byte behind it."""


@dataclass(frozen=True, slots=True)
class PlanMemory:
    """What a plan is checked against: the memory of each tensor, and the tensors of each step in the order of its places."""

    allotments: Mapping[str, Allotment]
    operands: Sequence[Sequence[str]]
    results: Collection[str]
    """The externals that the plan is to fill."""
    products: Mapping[str, MatrixProduct] = field(default_factory=dict)
    """Kernels that a library computes, by name."""


def check_plan(plan: Plan, kernels: Mapping[str, Kernel], memory: PlanMemory) -> tuple[str, ...]:
    """Check every rule of a plan; returns what has to be assumed of symbolic sizes."""
    check = _Check(plan, kernels, memory)
    check_calls(check)
    for rule in PLAN_RULES:
        rule(check)
    return tuple(check.assumed)


@dataclass(frozen=True, slots=True)
class _View:
    """An argument of a step: which bytes of a base it reaches over."""

    argument: Argument
    tensor: str
    base: str
    start: Index
    stop: Index


class _Check:
    """A plan under check: its steps with what they are given, and what is known of sizes."""

    def __init__(self, plan: Plan, kernels: Mapping[str, Kernel], memory: PlanMemory) -> None:
        self.plan = plan
        self.kernels = kernels
        self.memory = memory
        self.assumed: dict[str, None] = {}
        self._prover = Prover(symbol_ends(plan.symbols))
        self._sizes = _try_sizes(plan)
        self._proved: set[tuple[Index, Index]] = set()

    @functools.cached_property
    def steps(self) -> list[tuple[Step, list[_View]]]:
        """Every step with its arguments."""
        spans = {name: [span_bytes(a.dtype, a.shape, a.strides) for a in kernel.arguments] for name, kernel in self.kernels.items()}
        return [
            (
                step,
                [
                    _View(argument, tensor, place.base, place.offset, place.offset + span)
                    for argument, span, tensor, place in zip(self.kernels[step.kernel].arguments, spans[step.kernel], tensors, step.places)
                ],
            )
            for step, tensors in zip(self.plan.steps, self.memory.operands)
        ]

    def demand(self, step: Step, *orders: tuple[Index, Index], what: Callable[[], str]) -> None:
        """One of the pairs has to be in order, a <= b: refused if none ever is, assumed if that is not proved; `what` is wrong then."""
        if any(pair in self._proved for pair in orders):
            return
        slacks = [large - small for small, large in orders]
        for pair, slack in zip(orders, slacks):
            if self._is_decided(slack, all) and self._prover.is_never_negative(slack):
                self._proved.add(pair)
                return
        if not any(self._is_decided(slack, any) for slack in slacks):
            raise VerifyError(what(), where=_where(step))
        self.assumed.setdefault(f"{_where(step)}: not {what()}")

    def _is_decided(self, slack: Index, over: Callable[[Iterator[bool]], bool]) -> bool:
        """Whether a slack is at least zero for all, or any, of the sizes that are tried, which is quicker than a proof."""
        if slack.is_constant:
            return slack.constant >= 0
        return over((value := evaluate_at(slack, sizes)) is None or value >= 0 for sizes in self._sizes)


def _try_sizes(plan: Plan) -> list[dict[str, int]]:
    """Values of the symbols: all large, all small, one of each large."""
    low = {s.name: s.low for s in plan.symbols}
    high = {s.name: s.low + UNBOUNDED_STEP if s.high is None else s.high for s in plan.symbols}
    return [high, low, *({**low, name: high[name]} for name in low)]


def check_calls(check: _Check) -> None:
    """A step calls a kernel that is there, with a place and a tensor for each argument."""
    for step, tensors in zip(check.plan.steps, check.memory.operands, strict=True):
        kernel = check.kernels.get(step.kernel)
        if kernel is None:
            raise VerifyError(f"there is no kernel {step.kernel}", where=_where(step), help="pass every kernel that the plan calls")
        if not len(kernel.arguments) == len(step.places) == len(tensors):
            raise VerifyError(
                f"{step.kernel} has {len(kernel.arguments)} arguments, and is given {len(step.places)} places of {len(tensors)} tensors",
                where=_where(step),
            )
        for tensor, place in zip(tensors, step.places):
            allotment = check.memory.allotments.get(tensor)
            if allotment is None or allotment.base != place.base:
                raise VerifyError(f"{tensor} has no memory in {place.base}", where=_where(step), help="allot memory to it")


def check_accesses(check: _Check) -> None:
    """Loads and stores of a kernel stay inside what they name."""
    for name in dict.fromkeys(step.kernel for step in check.plan.steps):
        for site, access in find_unproved(check.kernels[name]):
            point = find_outside(site, access)
            if point is not None:
                raise site.fault(f"{print_expression(access)} is outside {access.tensor}: {point}", f"in kernel {name}")
            check.assumed.setdefault(f"kernel {name}: {print_expression(access)} is inside {access.tensor}")


def check_reach(check: _Check) -> None:
    """An argument that is used, and the matrix that a library takes for it, stays inside its tensor."""
    used = {name: _find_used(kernel) for name, kernel in check.kernels.items()}
    for step, views in check.steps:
        for view in views:
            if view.start != view.stop and view.argument.name in used[step.kernel]:
                allotment = check.memory.allotments[view.tensor]
                what = functools.partial(_describe_reach, view, allotment)
                check.demand(step, (allotment.offset, view.start), what=what)
                check.demand(step, (view.stop, allotment.stop), what=what)
        product = check.memory.products.get(step.kernel)
        for matrix in () if product is None else (product.left, product.right, product.out):
            argument = check.kernels[step.kernel].arguments[matrix.argument]
            taken, given = (span_bytes(argument.dtype, part.shape, part.strides) for part in (matrix, argument))
            what = functools.partial("the library takes {} bytes for {}, which has {}".format, taken, argument.name, given)
            check.demand(step, (taken, given), what=what)


def _find_used(kernel: Kernel) -> set[str]:
    """What statements name that may run: those in a loop of no steps, over a tensor without elements, never do."""
    used: set[str] = set()
    for site in find_sites(kernel):
        if not any((loop.stop - loop.start).is_constant and (loop.stop - loop.start).constant <= 0 for loop in site.loops):
            used.update((site.assign.target, *(load.tensor for load in site.reads())))
    return used


def _describe_reach(view: _View, allotment: Allotment) -> str:
    start, stop, size = (byte - allotment.offset for byte in (view.start, view.stop, allotment.stop))
    return f"{view.argument.name} reaches over bytes {start} .. {stop} of {view.tensor}, which was given {size}"


def check_arena(check: _Check) -> None:
    """Tensors of the arena are inside it, and those alive together do not overlap: from the first step that has one to the last."""
    lives: dict[str, tuple[int, int]] = {}
    for number, (_, views) in enumerate(check.steps):
        for view in views:
            if view.base == ARENA:
                lives[view.tensor] = lives.get(view.tensor, (number, number))[0], number
    alive: list[str] = []
    for name, (first, _) in sorted(lives.items(), key=lambda item: item[1][0]):
        step, mine = check.plan.steps[first], check.memory.allotments[name]
        what = functools.partial("{} has bytes {} .. {} of the arena, which has {}".format, name, mine.offset, mine.stop, check.plan.arena)
        check.demand(step, (ZERO, mine.offset), what=what)
        check.demand(step, (mine.stop, check.plan.arena), what=what)
        alive = [other for other in alive if lives[other][1] >= first]
        for other in alive:
            theirs = check.memory.allotments[other]
            text = "{} has bytes {} .. {} of the arena until step {}, and {} takes bytes {} .. {} at step {}"
            numbers = other, theirs.offset, theirs.stop, lives[other][1], name, mine.offset, mine.stop, first
            check.demand(step, (theirs.stop, mine.offset), (mine.stop, theirs.offset), what=functools.partial(text.format, *numbers))
        alive.append(name)


def check_overlaps(check: _Check) -> None:
    """What a kernel writes overlaps none of its other arguments, since it is compiled for pointers that do not meet."""
    for step, views in check.steps:
        for a, b in combinations(views, 2):
            if a.base == b.base and (a.argument.role, b.argument.role) != ("in", "in"):
                text = "{} and {}, of which one is written, are bytes {} .. {} and {} .. {} of {}"
                numbers = a.argument.name, b.argument.name, a.start, a.stop, b.start, b.stop, a.base
                check.demand(step, (a.stop, b.start), (b.stop, a.start), what=functools.partial(text.format, *numbers))


def check_written(check: _Check) -> None:
    """What the program makes is written before it is read, and results are written."""
    made = set(check.memory.results) | {name for name, allotment in check.memory.allotments.items() if allotment.base == ARENA}
    written: set[str] = set()
    for step, views in check.steps:
        for view in views:
            begun = view.argument.role == "out" or (view.argument.role == "inout" and _begins_by_writing(check.kernels[step.kernel], view))
            if view.tensor in made and view.tensor not in written and not begun:
                raise VerifyError(f"{view.tensor} is read before it is written", where=_where(step), help="write it in an earlier step")
        written.update(view.tensor for view in views if view.argument.role != "in")
    for name in check.memory.results:
        if name not in written:
            raise VerifyError(f"the result {name} is never written", where=f"plan of {len(check.plan.steps)} steps")


def _begins_by_writing(kernel: Kernel, view: _View) -> bool:
    """Whether the first statement of a kernel that touches an argument stores it, and reads nothing of it."""
    name = view.argument.name
    for site in find_sites(kernel):
        if any(load.tensor == name for load in site.reads()):
            return False
        if site.assign.target == name:
            return site.assign.merge is None
    return True


PLAN_RULES = (check_accesses, check_reach, check_arena, check_overlaps, check_written)


def _where(step: Step) -> str:
    return f"step of {step.kernel}"
