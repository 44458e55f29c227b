"""The decisions of a schedule that was given: there is no choice here, and what does not fit is refused.

A schedule says everything, so whatever is asked has its answer in it; what is in it and was not asked for is not legal here. Each Illegal
tells the clause (`tcomp.ir.parse.schedule.Clause`) that it is about.

Who edits a schedule need not say how a new kernel runs nor where tensors lie: somebody else who decides (`otherwise`) may be asked for the
loops of kernels that have no clause, and for the addresses if there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NoReturn

from tcomp.ir.cascade import Cascade, Einsum, Rank, Tensor
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.check.tile import check_kernel
from tcomp.ir.errors import Illegal, Unsupported, VerifyError
from tcomp.ir.expressions import as_index
from tcomp.ir.schedule import GroupSchedule, KernelSchedule, Packing, Schedule
from tcomp.ir.target import Target
from tcomp.ir.traverse import statement_einsums
from tcomp.ir.walk import index_variables
from tcomp.passes.bind.arguments import Memory, bind_group
from tcomp.passes.decisions import Decisions, Layouts, PartDecisions, Placed
from tcomp.passes.einsums.group import Group, leave_out
from tcomp.passes.groups.check import check_groups
from tcomp.passes.groups.form import Unit, form_groups
from tcomp.passes.groups.iteration import may_hold
from tcomp.passes.kinds.kind import Kinds
from tcomp.passes.kinds.table import KINDS, lower_group
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.lower.legal import check_bound
from tcomp.passes.lower.product import find_product
from tcomp.passes.plan.in_place import overwrite_at
from tcomp.passes.plan.lifetimes import ALIGNMENT, align


class Given:
    """Decides as a schedule says; what it leaves open is decided `otherwise`, or is not legal.

    Raises Illegal for a schedule of another target, and for one that breaks a rule of schedules.
    """

    def __init__(self, schedule: Schedule, target: Target, otherwise: Decisions | None = None, kinds: Kinds = KINDS) -> None:
        if schedule.target != target.name:
            raise Illegal(
                f'the schedule is for "{schedule.target}", and code is made for "{target.name}"',
                where="schedule",
                help="print the schedule of this machine, and edit that",
                clause=("for",),
            )
        try:
            check_schedule(schedule)
        except VerifyError as error:
            raise Illegal(error.what, where=error.where, help=error.help, clause=error.clause) from error
        self.schedule = schedule
        self.otherwise = otherwise
        self.kinds = kinds
        self.target = target
        self.packings = {packing.einsum: packing for packing in schedule.packings}
        self.used: set[tuple[str | int, ...]] = set()

    def is_expanded(self, einsum: Einsum, tensors: Mapping[str, Tensor]) -> bool:
        """If it is named so."""
        return self._uses("expand", einsum.name, self.schedule.expanded)

    def choose_packing(self, einsum: Einsum, static: Mapping[str, bool], cascade: Cascade) -> Packing | None:
        """If the einsum is named."""
        self._uses("pack", einsum.name, self.packings)
        return self.packings.get(einsum.name)

    def is_prologue(self, einsum: Einsum, tensors: Mapping[str, Tensor]) -> bool:
        """If it is named so."""
        return self._uses("prologue", einsum.name, self.schedule.prologues)

    def _uses(self, word: str, name: str, names: Collection[str]) -> bool:
        self.used.add((word, name))
        return name in names

    def of_prelude(self, cascade: Cascade) -> PartGiven:
        """As its prelude says."""
        self._check_operands()
        prelude = self.schedule.prelude or Schedule((), target=self.schedule.target)
        otherwise = None if self.otherwise is None else self.otherwise.of_prelude(cascade)
        return PartGiven(prelude, self.target, cascade, (), self.kinds, otherwise, inside=("prelude",))

    def of_main(self, cascade: Cascade) -> PartGiven:
        """As its own lines say."""
        otherwise = None if self.otherwise is None else self.otherwise.of_main(cascade)
        return PartGiven(self.schedule, self.target, cascade, self.schedule.prologues, self.kinds, otherwise)

    def _check_operands(self) -> None:
        """Raises Illegal for what no pass offered."""
        for word, names, what in (
            ("expand", self.schedule.expanded, "is no constant of positions that can be computed where it is read"),
            ("prologue", self.schedule.prologues, "is no map of weights that contractions alone read"),
            ("pack", self.packings, "is no contraction whose operands are packed for this target"),
        ):
            for name in names:
                if (word, name) not in self.used:
                    clause = (word, name) if word == "pack" else (word,)
                    raise Illegal(f"{name} {what}", where=f"{word} {name}", help="take it out", clause=clause)


_LINES = {("kernel",), ("group",), ("address",), ("layout",), ("hold",), ("prelude",)}
"""How clauses of lines start; others are clauses of a kernel."""


@dataclass
class PartGiven:
    """Decides for one cascade as the lines of a schedule say."""

    schedule: Schedule
    target: Target
    cascade: Cascade
    prologues: tuple[str, ...]
    kinds: Kinds
    otherwise: PartDecisions | None = None
    inside: tuple[str | int, ...] = ()
    fates: dict[tuple[str, ...], tuple[int, GroupSchedule]] = field(init=False)
    used: set[tuple[str, str | int]] = field(default_factory=set)
    """What a pass asked for: the word of a line, and the number of a group or the name of a tensor."""
    order: list[int] = field(default_factory=list)
    """The line of each kernel, in the order in which they were asked for."""

    def __post_init__(self) -> None:
        self.fates = {group.einsums: (number, group) for number, group in enumerate(self.schedule.groups)}

    def _refuse(self, what: str, help: str, *clause: str | int, where: str = "") -> NoReturn:
        raise Illegal(what, where=where or "schedule", help=help, clause=(*self.inside, *clause))

    @contextmanager
    def _inside(self, *clause: str | int) -> Iterator[None]:
        """Say of an error that it is about a clause, if it does not say itself."""
        try:
            yield
        except (Illegal, VerifyError, Unsupported) as error:
            known = () if isinstance(error, Unsupported) else error.clause
            whole = known if known[:1] in _LINES else (*clause, *known)
            if whole[: len(self.inside)] != self.inside:
                whole = (*self.inside, *whole)
            raise Illegal(error.what, where=error.where, help=error.help, clause=whole) from error

    def fuse(self, cascade: Cascade) -> tuple[Group, ...]:
        """The einsums of each group, and of each kernel that is one."""
        units = [Unit(group.einsums, ("group", number)) for number, group in enumerate(self.schedule.groups)]
        known = {name for unit in units for name in unit.names}
        whole = {name for s in cascade.statements for e in statement_einsums(s) for name, _ in e.targets}
        seen: set[tuple[str, ...]] = set()
        for number, kernel in enumerate(self.schedule.kernels):
            for part in kernel.split_einsums:
                names = leave_out(part, self.prologues)
                is_derived = known.intersection(names) or (known and not whole.intersection(names))
                # The fill of a scatter has its name, and the windows of an iteration are kernels of the same einsums.
                if is_derived or kernel.kind == "fill" or names in seen:
                    continue
                seen.add(names)
                units.append(Unit(names, ("kernel", number), None if kernel.parts else kernel.kind))
        with self._inside():
            return form_groups(cascade, units, self._hold, self.kinds)

    def _hold(self, group: Group) -> Group:
        own = set(group.names)
        held = own.intersection(self.schedule.held)
        for einsum in group.members:
            if einsum.name in held and not may_hold(group, einsum):
                self._refuse(f"a step of {einsum.name} cannot be held: its size is not known", "take it out", "hold")
        self.used.update(("hold", name) for name in held)
        return replace(group, held=frozenset(held), again=frozenset(own.intersection(self.schedule.again)))

    def _fate(self, group: Group, fate: str) -> GroupSchedule | None:
        names = leave_out(group.names, self.prologues)
        number, found = self.fates.get(names, (-1, None))
        if found is None or found.fate != fate:
            return None
        self.used.add(("group", number))
        return found

    def choose_sinking(self, groups: tuple[Group, ...]) -> frozenset[str]:
        """Those of groups that sink."""
        return frozenset(name for group in groups if self._fate(group, "sink") is not None for name in group.stored)

    def is_wide(self, name: str) -> bool:
        """If it is named so."""
        self.used.add(("wide", name))
        return name in self.schedule.wide

    def is_chained(self, chain: Group) -> bool:
        """If a kernel has these parts."""
        parts = tuple(part.names for part in chain.parts)
        return any(kernel.parts and kernel.split_einsums == parts for kernel in self.schedule.kernels)

    def choose_parts(self, group: Group, einsum: Einsum) -> tuple[str, int] | None:
        """As the group says."""
        return self._parts(group, einsum.reduced, lambda rank, count: rank.extent.constant % count == 0)

    def choose_cut(self, group: Group) -> tuple[str, int] | None:
        """As the group says."""
        return self._parts(group, group.inner, lambda rank, count: count <= rank.extent.constant)

    def _parts(self, group: Group, ranks: Sequence[Rank], fits: Callable[[Rank, int], bool]) -> tuple[str, int] | None:
        found = self._fate(group, "parts")
        if found is None or found.parts is None:
            return None
        name, count = found.parts
        if not any(rank.name == name and fits(rank, count) for rank in ranks):
            can = ", ".join(f"{rank.name}:{rank.extent}" for rank in ranks)
            number = self.fates[found.einsums][0]
            self._refuse(f"no rank {name} can be cut into {count} parts", f"cut one of {can}", "group", number, where=str(found))
        return found.parts

    def is_apart(self, group: Group) -> bool:
        """If the group says so."""
        return self._fate(group, "apart") is not None

    def arrange(self, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        """In the order of kernels. Raises Illegal if a group has no kernel, or a kernel no group."""
        for number, line in enumerate(self.schedule.groups):
            if ("group", number) not in self.used:
                help = {
                    "sink": "maps sink that one map alone reads, every element once",
                    "parts": "reductions are cut that are the only ones of their kernel, or rows, of known length",
                    "apart": "a contraction and maps over its free ranks can be apart on a GPU",
                }[line.fate]
                self._refuse(f"the group of {', '.join(line.einsums)} cannot be so", help, "group", number, where=str(line))
        names_left = {leave_out(group.names, self.prologues) for group in groups}
        for number, line in enumerate(self.schedule.groups):
            # Parts may be folded into the tensor itself.
            if line.einsums in names_left and line.fate != "parts":
                self._refuse(f"the group of {', '.join(line.einsums)} stays as it is", "take it out", "group", number, where=str(line))
        self.used.update(("again", name) for group in groups for name in group.names)
        for word, names, what in (
            ("wide", self.schedule.wide, "cannot be wide: it is stored, or read as what it is"),
            ("hold", self.schedule.held, "is no member of an iteration"),
            ("again", self.schedule.again, "is computed by no kernel"),
        ):
            for name in names:
                if (word, name) not in self.used:
                    self._refuse(f"{name} {what}", "take it out", word, where=f"{word} ({name})")
        table = {(group.kind, group.names): group for group in groups}
        ordered: list[Group] = []
        for number, kernel in enumerate(self.schedule.kernels):
            found = table.get((kernel.kind, kernel.einsums))
            if found is None:
                self._refuse_kernel(number, kernel, groups)
            if found not in ordered:
                ordered.append(found)
        for group in groups:
            if group not in ordered:
                self._refuse(
                    f"no kernel computes {', '.join(group.names)}",
                    f"add one of kind {group.kind}: kernel name = {group.kind}({', '.join(group.names)}) ...",
                )
        self._check_reads(ordered)
        with self._inside("kernel"):
            check_groups(tuple(ordered), self.cascade)
        return tuple(ordered)

    def _check_reads(self, groups: Sequence[Group]) -> None:
        """Raises Illegal if a kernel reads what no kernel before it computes."""
        known = {tensor.name for tensor in self.cascade.inputs}
        for group in groups:
            for name in group.reads():
                if name not in known:
                    number = next(n for n, kernel in enumerate(self.schedule.kernels) if kernel.einsums == group.names)
                    where = str(self.schedule.kernels[number])
                    self._refuse(f"no kernel before computes {name}", "move the kernel that computes it up", "kernel", number, where=where)
            known.update(group.stored)

    def _refuse_kernel(self, number: int, kernel: KernelSchedule, groups: Sequence[Group]) -> NoReturn:
        """Say why no group is what a kernel computes."""
        same = next((g for g in groups if set(g.names) == set(kernel.einsums)), None)
        if same is not None and same.names == kernel.einsums:
            what, help = f"{', '.join(same.names)} is a {same.kind}, no {kernel.kind}", f"write {same.kind}"
        elif same is not None:
            what, help = "the einsums are in another order", f"write {', '.join(same.names)}"
        elif kernel.parts:
            what, help = "these are no chain", "a contraction, a nest of its lanes, and a contraction that sums over them can be chained"
        else:
            unknown = [name for name in kernel.einsums if not any(name in g.names for g in groups)]
            what = f"there is no einsum {unknown[0]}" if unknown else f"{', '.join(kernel.einsums)} are no kernel"
            help = "name the einsums that the group before it makes"
        self._refuse(what, help, "kernel", number, where=str(kernel))

    def choose_window(self, group: Group, need: int) -> int:
        """As many steps as the first kernel of the iteration has."""
        kernel = next(kernel for kernel in self.schedule.kernels if kernel.einsums == group.names)
        if kernel.steps is None:
            return 0
        assert group.iterative is not None
        if not 0 < kernel.steps[1] <= group.iterative.extent.constant:
            self._refuse(f"an iteration of {group.iterative.extent} steps has no window of {kernel.steps[1]}", "take fewer", "kernel")
        return kernel.steps[1]

    def choose_order(self, group: Group, einsum: Einsum, name: str, memories: Mapping[str, Memory]) -> tuple[int, ...]:
        """As its layout says, or as it is written."""
        self.used.add(("layout", name))
        return dict(self.schedule.layouts).get(name, tuple(range(len(einsum.shape))))

    def choose(self, group: Group, seen: Mapping[str, Memory], steps: tuple[int, int] | None, layouts: Layouts) -> Sequence[Candidate]:
        """The kernel of these einsums, at these steps."""
        key = (group.kind, group.names, steps)
        number = next((n for n, k in enumerate(self.schedule.kernels) if (k.kind, k.einsums, k.steps) == key and n not in self.order), None)
        if number is None:
            turn = "" if steps is None else f" in the steps {steps[0]} .. {steps[1]}"
            self._refuse(f"no kernel computes {', '.join(group.names)}{turn}", "add one, the steps one after another")
        kernel = self.schedule.kernels[number]
        self.order.append(number)
        if not kernel.loops and self.otherwise is not None:
            with self._inside("kernel", number):
                return self.otherwise.choose(group, seen, steps, layouts)[:1]
        with self._inside("kernel", number):
            bound = bind_group(group, seen)
            check_bound(bound, kernel, self.target)
            again = frozenset(group.names).intersection(self.schedule.again)
            found = lower_group(group, bound, replace(kernel, name="kernel"), self.cascade.symbols, again, self.kinds)
            check_kernel(found.kernel)
            if kernel.is_library:
                product = find_product(found)
                if product is None:
                    raise Illegal("no library computes this kernel", where=str(kernel), help="take `library` out")
                found = replace(found, product=product)
        return (found,)

    def place(self, kernels: Sequence[Candidate], memories: Mapping[str, Memory], external: frozenset[str]) -> Placed:
        """As the addresses say: a result at that of an argument that dies with the kernel is written over it."""
        for number, kernel in enumerate(self.schedule.kernels):
            if number not in self.order:
                self._refuse("the kernel computes what has been computed", "take it out", "kernel", number, where=str(kernel))
        self._check_order(kernels)
        kernels = [kernel for _, kernel in sorted(zip(self.order, kernels), key=lambda pair: pair[0])]
        addresses = dict(self.schedule.addresses)
        if not addresses and self.schedule.arena is None and self.otherwise is not None:
            return self.otherwise.place(kernels, memories, external)
        needed = {operand.tensor for kernel in kernels for operand in kernel.operands} - external
        for name in needed:
            if name not in addresses:
                self._refuse(f"{name} has no address", "give it one, or leave out all addresses and the arena: then they are planned")
        known = {symbol.name for symbol in self.cascade.symbols}
        for name, offset in addresses.items():
            where = f"address {name} {offset}"
            if name not in needed:
                self._refuse(f"{name} does not lie in the arena", "take it out", "address", name, where=where)
            if not index_variables(offset) <= known:
                self._refuse("the address is of a size that is not known", f"sizes are {', '.join(known) or 'numbers'}", "address", name)
            if offset.is_constant and offset.constant != align(offset.constant):
                help = f"take {align(offset.constant)}, or leave out all addresses and the arena: then they are planned"
                self._refuse(f"the address of {name} is no multiple of {ALIGNMENT}", help, "address", name, where=where)
        if self.schedule.arena is not None and not index_variables(self.schedule.arena) <= known:
            self._refuse("the arena is of a size that is not known", f"sizes are {', '.join(known) or 'numbers'}", "arena")
        for name, _ in self.schedule.layouts:
            if ("layout", name) not in self.used:
                self._refuse(f"the layout of {name} cannot be chosen", "take it out", "layout", name)
        if self.schedule.arena is None and needed:
            self._refuse("the size of the arena is missing", "give it, or leave out all addresses as well: then they are planned")
        ends = [addresses[name] + memories[name].bytes for name in needed]
        arena = self.schedule.arena
        if arena is not None and arena.is_constant and all(end.is_constant for end in ends):
            used = align(max((end.constant for end in ends), default=0))
            if arena.constant != used:
                self._refuse(f"the arena has {arena} bytes, and {used} are used", f"write arena {used}", "arena", where=f"arena {arena}")
        with self._inside():
            found = overwrite_at(kernels, memories, external, addresses)
        return Placed(found, addresses, self.schedule.arena or as_index(0))

    def _check_order(self, kernels: Sequence[Candidate]) -> None:
        """Raises Illegal if a kernel comes before one whose results it reads or overwrites, or that reads what it writes."""
        touched: dict[str, list[tuple[int, bool]]] = {}
        for number, kernel in zip(self.order, kernels):
            for argument, operand in zip(kernel.kernel.arguments, kernel.operands):
                writes = argument.role != "in"
                for other, wrote in touched.get(operand.tensor, ()):
                    if (writes or wrote) and other > number:
                        names = [", ".join(self.schedule.kernels[n].einsums) for n in (number, other)]
                        self._refuse(
                            f"{names[0]} has to come after {names[1]}, because of {operand.tensor}", "move it down", "kernel", number
                        )
                touched.setdefault(operand.tensor, []).append((number, writes))
