"""What must hold of a schedule, whatever the cascade."""

from __future__ import annotations

from collections.abc import Iterator

from tcomp.ir.errors import VerifyError
from tcomp.ir.schedule import GpuLaunch, KernelSchedule, Schedule


def check_schedule(schedule: Schedule) -> None:
    """Check what can be known without the cascade: names, ranks, sizes and permutations; raises VerifyError."""
    if schedule.prelude is not None:
        check_schedule(schedule.prelude)
    for names, what in (
        ([einsum for kernel in schedule.kernels if kernel.kind != "fill" and kernel.steps is None for einsum in kernel.einsums], "einsum"),
        ([tensor for tensor, _ in schedule.layouts], "layout of"),
        ([tensor for tensor, _ in schedule.addresses], "address of"),
        ([packing.einsum for packing in schedule.packings], "packing of"),
        ([einsum for group in schedule.groups for einsum in group.einsums], "group of"),
    ):
        for name in names:
            if names.count(name) > 1:
                raise VerifyError(f"the {what} {name} is given twice", where="schedule", help="keep one of them")
    _check_steps(schedule)
    for kernel in schedule.kernels:
        _check_kernel(kernel)
    for where, what, size in _sizes(schedule):
        if size < 1:
            raise VerifyError(f"{what} is {size}", where=where, help="it has to be at least 1")
    for tensor, dimensions in schedule.layouts:
        if sorted(dimensions) != list(range(len(dimensions))):
            raise VerifyError(
                f"the layout of {tensor} is no permutation: {list(dimensions)}",
                where="schedule",
                help="name each dimension once, counted from 0, outermost first",
            )


def _check_steps(schedule: Schedule) -> None:
    """Kernels that take turns at an iteration compute all of its steps, one after another."""
    done: dict[str, int] = {}
    whole = {einsum for kernel in schedule.kernels if kernel.steps is None for einsum in kernel.einsums}
    for kernel in schedule.kernels:
        if kernel.steps is None:
            continue
        first, stop = kernel.steps
        for einsum in kernel.einsums:
            if einsum in whole or done.get(einsum, 0) != first or stop <= first:
                raise VerifyError(
                    f"the steps {first} .. {stop} of {einsum} do not follow {done.get(einsum, 0)}",
                    where=str(kernel),
                    help="let kernels compute all steps of an iteration in turn, from 0 on",
                )
            done[einsum] = stop


def _check_kernel(kernel: KernelSchedule) -> None:
    if not kernel.einsums:
        raise VerifyError("the kernel computes no einsum", where=str(kernel), help="name its einsums, the root last")
    together = [rank for _, ranks in kernel.joined for rank in ranks]
    names = [name for name, _ in kernel.joined]
    for name in names:
        if name in kernel.order or names.count(name) > 1:
            raise VerifyError(f"the joint rank {name} has the name of another rank", where=str(kernel), help="choose a new name")
    for _, ranks in kernel.joined:
        if len(ranks) < 2 or any(together.count(rank) > 1 or rank not in kernel.order for rank in ranks):
            raise VerifyError(
                f"the ranks {', '.join(ranks)} cannot be joined",
                where=str(kernel),
                help="join two ranks or more of those in the order, and each rank once",
            )
    lanes = () if kernel.lanes is None else (kernel.lanes,)
    for ranks, what in (
        (tuple(dict.fromkeys(rank for rank, _ in kernel.tiles)), "tiled"),
        (tuple(rank for rank, _ in kernel.partial), "cut into partial sums"),
        (kernel.order, "ordered"),
        (kernel.parallel, "parallel"),
        (lanes, "on lanes"),
    ):
        for rank in ranks:
            if ranks.count(rank) > 1:
                raise VerifyError(f"rank {rank} is {what} twice", where=str(kernel), help="name it once")
            # Those of an iteration's members, which each of them walks inside a step, have no order.
            is_inside = kernel.kind == "scan" and what == "tiled"
            if not is_inside and rank not in (*kernel.order, *(name for name, _ in kernel.joined)):
                raise VerifyError(f"rank {rank} is {what} and not in the order", where=str(kernel), help="add it to `order`")
    for position, (rank, size) in enumerate(kernel.tiles):
        larger = [other for name, other in kernel.tiles[:position] if name == rank]
        if larger and larger[-1] <= size:
            raise VerifyError(
                f"rank {rank} is tiled twice, by {larger[-1]} and then by {size}",
                where=str(kernel),
                help="a tile may be cut again into smaller ones: list the larger first",
            )


def _sizes(schedule: Schedule) -> Iterator[tuple[str, str, int]]:
    """Where a size is given, of what, and the size."""
    for packing in schedule.packings:
        yield str(packing), f"the panel of {packing.rank}", packing.width
    for group in schedule.groups:
        if group.parts is not None:
            yield str(group), f"the number of parts of {group.parts[0]}", group.parts[1]
    for kernel in schedule.kernels:
        for rank, size in kernel.tiles:
            yield str(kernel), f"the tile of {rank}", size
        for rank, steps in kernel.partial:
            yield str(kernel), f"the partial sum of {rank}", steps
        if isinstance(kernel.launch, GpuLaunch):
            yield str(kernel), "the number of warps", kernel.launch.warps
            yield str(kernel), "the number of stages", kernel.launch.stages
