"""What must hold of a schedule, whatever the cascade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn, TypeAlias

from tcomp.ir.errors import VerifyError
from tcomp.ir.schedule import GpuLaunch, KernelSchedule, Schedule

Clause: TypeAlias = tuple[str | int, ...]
"""A place in a schedule (`tcomp.ir.parse.schedule.Clause`)."""


def check_schedule(schedule: Schedule) -> None:
    """Check what can be known without the cascade: names, ranks, sizes and permutations.

    Raises VerifyError, which tells the clause that it is about.
    """
    if schedule.prelude is not None:
        try:
            check_schedule(schedule.prelude)
        except VerifyError as error:
            raise VerifyError(error.what, where=error.where, help=error.help, clause=("prelude", *error.clause)) from error
    _check_names(schedule)
    _check_steps(schedule)
    for number, kernel in enumerate(schedule.kernels):
        _check_kernel(kernel, ("kernel", number))
    for clause, where, what, size in _sizes(schedule):
        if size < 1:
            raise VerifyError(f"{what} is {size}", where=where, help="it has to be at least 1", clause=clause)
    for tensor, dimensions in schedule.layouts:
        if sorted(dimensions) != list(range(len(dimensions))):
            raise VerifyError(
                f"the layout of {tensor} is no permutation: {list(dimensions)}",
                where="schedule",
                help="name each dimension once, counted from 0, outermost first",
                clause=("layout", tensor),
            )
    for tensor, offset in schedule.addresses:
        if offset.is_constant and offset.constant < 0:
            raise VerifyError(f"the address of {tensor} is {offset}", where="schedule", help="count from 0", clause=("address", tensor))
    if schedule.arena is not None and schedule.arena.is_constant and schedule.arena.constant < 0:
        raise VerifyError(f"the arena has {schedule.arena} bytes", where="schedule", help="leave it out", clause=("arena",))


def _check_names(schedule: Schedule) -> None:
    """What is computed, laid out, placed or packed is so once."""
    whole = [(number, kernel) for number, kernel in enumerate(schedule.kernels) if kernel.kind != "fill" and kernel.steps is None]
    places: list[tuple[str, str, Clause]] = [("einsum", name, ("kernel", number)) for number, kernel in whole for name in kernel.einsums]
    places += [("layout of", tensor, ("layout", tensor)) for tensor, _ in schedule.layouts]
    places += [("address of", tensor, ("address", tensor)) for tensor, _ in schedule.addresses]
    places += [("packing of", packing.einsum, ("pack", packing.einsum)) for packing in schedule.packings]
    places += [("group of", name, ("group", number)) for number, group in enumerate(schedule.groups) for name in group.einsums]
    seen: set[tuple[str, str]] = set()
    for what, name, clause in places:
        if (what, name) in seen:
            raise VerifyError(f"the {what} {name} is given twice", where="schedule", help="keep one of them", clause=clause)
        seen.add((what, name))


def _check_steps(schedule: Schedule) -> None:
    """Kernels that take turns at an iteration compute all of its steps, one after another."""
    done: dict[str, int] = {}
    whole = {einsum for kernel in schedule.kernels if kernel.steps is None for einsum in kernel.einsums}
    for number, kernel in enumerate(schedule.kernels):
        if kernel.steps is None:
            continue
        first, stop = kernel.steps
        for einsum in kernel.einsums:
            if einsum in whole or done.get(einsum, 0) != first or stop <= first:
                raise VerifyError(
                    f"the steps {first} .. {stop} of {einsum} do not follow {done.get(einsum, 0)}",
                    where=str(kernel),
                    help="let kernels compute all steps of an iteration in turn, from 0 on",
                    clause=("kernel", number, "steps"),
                )
            done[einsum] = stop


def _check_kernel(kernel: KernelSchedule, clause: Clause) -> None:
    def refuse(what: str, help: str, *word: str) -> NoReturn:
        raise VerifyError(what, where=str(kernel), help=help, clause=(*clause, *word))

    if not kernel.einsums:
        refuse("the kernel computes no einsum", "name its einsums, the root last")
    together = [rank for _, ranks in kernel.joined for rank in ranks]
    names = [name for name, _ in kernel.joined]
    for name in names:
        if name in kernel.order or names.count(name) > 1:
            refuse(f"the joint rank {name} has the name of another rank", "choose a new name", "join")
    for _, ranks in kernel.joined:
        if len(ranks) < 2 or any(together.count(rank) > 1 or rank not in kernel.order for rank in ranks):
            help = "join two ranks or more of those in the order, and each rank once"
            refuse(f"the ranks {', '.join(ranks)} cannot be joined", help, "join")
    lanes = () if kernel.lanes is None else (kernel.lanes,)
    for ranks, what, word in (
        (tuple(dict.fromkeys(rank for rank, _ in kernel.tiles)), "tiled", "tile"),
        (tuple(rank for rank, _ in kernel.partial), "cut into partial sums", "partial"),
        (kernel.order, "ordered", "order"),
        (kernel.parallel, "parallel", "parallel"),
        (lanes, "on lanes", "lanes"),
    ):
        for rank in ranks:
            if ranks.count(rank) > 1:
                refuse(f"rank {rank} is {what} twice", "name it once", word)
            # Those of an iteration's members, which each of them walks inside a step, have no order.
            is_inside = kernel.kind == "scan" and what == "tiled"
            if not is_inside and rank not in (*kernel.order, *(name for name, _ in kernel.joined)):
                help = "add it to `order`" if kernel.order else "a kernel has all clauses of its loops, or none: then they are guessed"
                refuse(f"rank {rank} is {what} and not in the order", help, word)
    for position, (rank, size) in enumerate(kernel.tiles):
        larger = [other for name, other in kernel.tiles[:position] if name == rank]
        if larger and larger[-1] <= size:
            help = "a tile may be cut again into smaller ones: list the larger first"
            refuse(f"rank {rank} is tiled twice, by {larger[-1]} and then by {size}", help, "tile")


def _sizes(schedule: Schedule) -> Iterator[tuple[Clause, str, str, int]]:
    """Where a size is given, the line, of what, and the size."""
    for packing in schedule.packings:
        yield ("pack", packing.einsum), str(packing), f"the panel of {packing.rank}", packing.width
    for number, group in enumerate(schedule.groups):
        if group.parts is not None:
            yield ("group", number), str(group), f"the number of parts of {group.parts[0]}", group.parts[1]
    for number, kernel in enumerate(schedule.kernels):
        for rank, size in kernel.tiles:
            yield ("kernel", number, "tile"), str(kernel), f"the tile of {rank}", size
        for rank, steps in kernel.partial:
            yield ("kernel", number, "partial"), str(kernel), f"the partial sum of {rank}", steps
        if isinstance(kernel.launch, GpuLaunch):
            yield ("kernel", number, "warps"), str(kernel), "the number of warps", kernel.launch.warps
            yield ("kernel", number, "warps"), str(kernel), "the number of stages", kernel.launch.stages
