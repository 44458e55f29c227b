"""Random edits of a schedule, as somebody may make them who knows its words and not its cascade.

What an edited schedule says is either refused with Illegal, or what it computes is what the cascade means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tcomp.fuzz.choices import Choices, chance
from tcomp.ir.expressions import as_index
from tcomp.ir.schedule import CpuLaunch, GpuLaunch, KernelSchedule, Schedule

SIZES = (1, 2, 3, 4, 5, 8, 12, 16, 32, 64)

T = TypeVar("T")
Edit = Callable[[Choices, Schedule], Schedule]


def change_kernel(choices: Choices, schedule: Schedule, edit: Callable[[KernelSchedule], KernelSchedule]) -> Schedule:
    """The schedule with one kernel edited."""
    if not schedule.kernels:
        return schedule
    place = choices.integer(0, len(schedule.kernels) - 1)
    kernels = list(schedule.kernels)
    kernels[place] = edit(kernels[place])
    return replace(schedule, kernels=tuple(kernels))


def some_of(choices: Choices, items: Sequence[T]) -> tuple[T, ...]:
    """Some of the items, perhaps none, in some order."""
    return tuple(choices.shuffle(items)[: choices.integer(0, len(items))])


def without_one(choices: Choices, items: tuple[T, ...]) -> tuple[T, ...]:
    """The items but one."""
    place = choices.integer(0, len(items) - 1) if items else 0
    return (*items[:place], *items[place + 1 :])


def resize_tile(choices: Choices, schedule: Schedule) -> Schedule:
    """One tile of another size."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        if not kernel.tiles:
            return kernel
        place = choices.integer(0, len(kernel.tiles) - 1)
        tiles = list(kernel.tiles)
        tiles[place] = (tiles[place][0], choices.pick(SIZES))
        return replace(kernel, tiles=tuple(tiles))

    return change_kernel(choices, schedule, edit)


def change_tiles(choices: Choices, schedule: Schedule) -> Schedule:
    """A tile less, one more, or all in another order."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        match choices.integer(0, 2):
            case 0:
                return replace(kernel, tiles=without_one(choices, kernel.tiles))
            case 1 if kernel.order:
                more = (choices.pick(kernel.order), choices.pick(SIZES))
                return replace(kernel, tiles=(*kernel.tiles, more) if chance(choices, 1, 2) else (more, *kernel.tiles))
        return replace(kernel, tiles=tuple(choices.shuffle(kernel.tiles)))

    return change_kernel(choices, schedule, edit)


def change_order(choices: Choices, schedule: Schedule) -> Schedule:
    """The loops of a kernel in another order, or one loop less."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        if choices.integer(0, 3):
            return replace(kernel, order=tuple(choices.shuffle(kernel.order)))
        return replace(kernel, order=without_one(choices, kernel.order))

    return change_kernel(choices, schedule, edit)


def change_parallel(choices: Choices, schedule: Schedule) -> Schedule:
    """Other loops that run in parallel."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        return replace(kernel, parallel=some_of(choices, kernel.order))

    return change_kernel(choices, schedule, edit)


def change_lanes(choices: Choices, schedule: Schedule) -> Schedule:
    """Another rank, or none, along vector lanes."""
    return change_kernel(choices, schedule, lambda kernel: replace(kernel, lanes=choices.pick((None, *kernel.order))))


def change_partial(choices: Choices, schedule: Schedule) -> Schedule:
    """Partial sums of another length, or none."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        if kernel.order and chance(choices, 1, 2):
            return replace(kernel, partial=((choices.pick(kernel.order), choices.pick(SIZES)),))
        return replace(kernel, partial=())

    return change_kernel(choices, schedule, edit)


def change_launch(choices: Choices, schedule: Schedule) -> Schedule:
    """Other ranks that run on several cores, or another number of a GPU's launch."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        if isinstance(kernel.launch, CpuLaunch):
            return replace(kernel, launch=CpuLaunch(some_of(choices, ["x0", "x1", "x2"])))
        word = choices.pick(("warps", "stages", "instances", "group"))
        return replace(kernel, launch=replace(kernel.launch, **{word: choices.pick(SIZES)}))

    return change_kernel(choices, schedule, edit)


def change_joined(choices: Choices, schedule: Schedule) -> Schedule:
    """A joint rank less, with the tile of one of its ranks in place of its own, or one more of neighbours in the order."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        if kernel.joined and chance(choices, 1, 2):
            name, ranks = kernel.joined[0]
            tiles = tuple((choices.pick(ranks) if rank == name else rank, size) for rank, size in kernel.tiles)
            return replace(kernel, joined=kernel.joined[1:], tiles=tiles)
        if len(kernel.order) < 2 or not isinstance(kernel.launch, GpuLaunch):
            return kernel
        place = choices.integer(0, len(kernel.order) - 2)
        ranks = kernel.order[place : place + 2]
        tiles = tuple(("joint" if rank == ranks[0] else rank, size) for rank, size in kernel.tiles if rank != ranks[1])
        return replace(kernel, joined=(*kernel.joined, ("joint", ranks)), tiles=tiles)

    return change_kernel(choices, schedule, edit)


def change_kind(choices: Choices, schedule: Schedule) -> Schedule:
    """A kernel of another kind."""
    kinds = ("contract", "nest", "scan", "scatter", "fill", "chain")
    return change_kernel(choices, schedule, lambda kernel: replace(kernel, kind=choices.pick(kinds)))


def change_registers(choices: Choices, schedule: Schedule) -> Schedule:
    """Another limit on registers."""
    return change_kernel(choices, schedule, lambda kernel: replace(kernel, registers=choices.pick((0, 1, 8, 512))))


def change_steps(choices: Choices, schedule: Schedule) -> Schedule:
    """Other steps of an iteration, or all."""

    def edit(kernel: KernelSchedule) -> KernelSchedule:
        first = choices.integer(0, 3)
        return replace(kernel, steps=choices.pick((None, (first, first + choices.integer(1, 4)))))

    return change_kernel(choices, schedule, edit)


def open_loops(choices: Choices, schedule: Schedule) -> Schedule:
    """A kernel whose loops are decided by somebody else."""
    return change_kernel(choices, schedule, lambda kernel: KernelSchedule(kernel.name, kernel.einsums, kernel.kind, parts=kernel.parts))


def fuse_kernels(choices: Choices, schedule: Schedule) -> Schedule:
    """One kernel in place of two, which runs as the first or the second did, or as somebody else decides."""
    if len(schedule.kernels) < 2:
        return schedule
    place = choices.integer(0, len(schedule.kernels) - 2)
    first, second = schedule.kernels[place : place + 2]
    loops = choices.pick((first, second, KernelSchedule("k", (), first.kind)))
    both = replace(loops, einsums=(*first.einsums, *second.einsums), kind=choices.pick((first.kind, second.kind)), parts=())
    return replace(schedule, kernels=(*schedule.kernels[:place], both, *schedule.kernels[place + 2 :]))


def chain_kernels(choices: Choices, schedule: Schedule) -> Schedule:
    """One kernel in place of three, of which each becomes a part, with the loops of one of them."""
    if len(schedule.kernels) < 3:
        return schedule
    place = choices.integer(0, len(schedule.kernels) - 3)
    three = schedule.kernels[place : place + 3]
    einsums = tuple(name for kernel in three for name in kernel.einsums)
    chain = replace(choices.pick(three), einsums=einsums, kind="chain", parts=tuple(len(kernel.einsums) for kernel in three))
    return replace(schedule, kernels=(*schedule.kernels[:place], chain, *schedule.kernels[place + 3 :]))


def split_kernel(choices: Choices, schedule: Schedule) -> Schedule:
    """Two kernels in place of one, which run as it did, or as somebody else decides."""
    long = [place for place, kernel in enumerate(schedule.kernels) if len(kernel.einsums) > 1]
    if not long:
        return schedule
    place = choices.pick(long)
    kernel = schedule.kernels[place]
    cut = choices.integer(1, len(kernel.einsums) - 1)
    halves = []
    for names in (kernel.einsums[:cut], kernel.einsums[cut:]):
        kind = choices.pick((kernel.kind, "nest", "contract"))
        halves.append(choices.pick((replace(kernel, einsums=names, kind=kind, parts=()), KernelSchedule("k", names, kind))))
    return replace(schedule, kernels=(*schedule.kernels[:place], *halves, *schedule.kernels[place + 1 :]))


def move_kernel(choices: Choices, schedule: Schedule) -> Schedule:
    """A kernel at another place in the order."""
    if len(schedule.kernels) < 2:
        return schedule
    kernels = list(schedule.kernels)
    moved = kernels.pop(choices.integer(0, len(kernels) - 1))
    kernels.insert(choices.integer(0, len(kernels)), moved)
    return replace(schedule, kernels=tuple(kernels))


def change_addresses(choices: Choices, schedule: Schedule) -> Schedule:
    """A tensor where another one is, or a bit further, or nowhere; or all of them are placed by somebody else."""
    addresses = list(schedule.addresses)
    choice = choices.integer(0, 5)
    if not addresses or choice == 0:
        return replace(schedule, addresses=(), arena=None)
    place = choices.integer(0, len(addresses) - 1)
    name, offset = addresses[place]
    match choice:
        case 1:
            del addresses[place]
        case 2:
            addresses[place] = (name, choices.pick(addresses)[1])
        case 3:
            addresses[place] = (name, as_index(choices.pick([0, 64, 128, 192, 256, 1024])))
        case 4:
            addresses[place] = (name, offset + choices.pick([64, -64, 4096]))
        case 5:
            return replace(schedule, arena=as_index(choices.pick([0, 64, 1 << 20])))
    arena = schedule.arena if chance(choices, 1, 2) else as_index(1 << 20)
    return replace(schedule, addresses=tuple(addresses), arena=arena)


def change_layouts(choices: Choices, schedule: Schedule) -> Schedule:
    """A layout less, of another order, or of a tensor that had none."""
    layouts = dict(schedule.layouts)
    names = [*layouts, *(name for name, _ in schedule.addresses)]
    if not names:
        return schedule
    name = choices.pick(names)
    if name in layouts and chance(choices, 1, 2):
        del layouts[name]
    else:
        count = len(layouts[name]) if name in layouts else choices.integer(1, 3)
        layouts[name] = tuple(choices.shuffle(range(count)))
    return replace(schedule, layouts=tuple(layouts.items()))


def change_names(choices: Choices, schedule: Schedule) -> Schedule:
    """A tensor less in a list of tensors, or one more."""
    word = choices.pick(("wide", "held", "again", "expanded", "prologues"))
    names = getattr(schedule, word)
    einsums = [name for kernel in schedule.kernels for name in kernel.einsums]
    if (names and chance(choices, 1, 2)) or not einsums:
        changed: dict[str, Any] = {word: without_one(choices, names)}
    else:
        changed = {word: tuple(dict.fromkeys((*names, choices.pick(einsums))))}
    return replace(schedule, **changed)


def change_groups(choices: Choices, schedule: Schedule) -> Schedule:
    """A group less, or one in another number of parts."""
    if not schedule.groups or chance(choices, 1, 2):
        return replace(schedule, groups=without_one(choices, schedule.groups))
    place = choices.integer(0, len(schedule.groups) - 1)
    groups = list(schedule.groups)
    parts = groups[place].parts
    if parts is not None:
        groups[place] = replace(groups[place], parts=(parts[0], choices.pick(SIZES)))
    return replace(schedule, groups=tuple(groups))


def change_packings(choices: Choices, schedule: Schedule) -> Schedule:
    """A packing less, or one of another rank or width."""
    if not schedule.packings or not choices.integer(0, 3):
        return replace(schedule, packings=without_one(choices, schedule.packings))
    place = choices.integer(0, len(schedule.packings) - 1)
    packings = list(schedule.packings)
    ranks = [rank for kernel in schedule.kernels for rank in kernel.order] or [packings[place].rank]
    rank = packings[place].rank if chance(choices, 1, 2) else choices.pick(ranks)
    packings[place] = replace(packings[place], width=choices.pick(SIZES), rank=rank)
    return replace(schedule, packings=tuple(packings))


def change_prelude(choices: Choices, schedule: Schedule) -> Schedule:
    """No prelude, or one that is edited."""
    if schedule.prelude is None or not choices.integer(0, 4):
        return replace(schedule, prelude=None)
    edit = choices.pick((resize_tile, change_order, change_parallel, open_loops, move_kernel))
    return replace(schedule, prelude=edit(choices, schedule.prelude))


LOOPS: tuple[Edit, ...] = (
    *[resize_tile] * 2,
    change_tiles,
    change_order,
    change_parallel,
    change_lanes,
    change_partial,
    change_launch,
    change_joined,
)
KERNELS: tuple[Edit, ...] = (
    fuse_kernels,
    chain_kernels,
    split_kernel,
    move_kernel,
    open_loops,
    change_kind,
    change_steps,
    change_registers,
)
REST: tuple[Edit, ...] = (
    *[change_addresses] * 2,
    change_layouts,
    change_names,
    change_groups,
    change_packings,
    change_prelude,
)
MOST_EDITS = 3


def edit_schedule(choices: Choices, guessed: Schedule) -> Schedule:
    """A guessed schedule with a few random edits; mostly without addresses where kernels became others, so that others decide them."""
    schedule = guessed
    edits = [choices.pick([*LOOPS * 2, *KERNELS, *REST]) for _ in range(choices.integer(1, MOST_EDITS))]
    for edit in edits:
        schedule = edit(choices, schedule)
    if any(edit in KERNELS for edit in edits) and chance(choices, 4, 5):
        schedule = replace(schedule, addresses=(), arena=None)
    return schedule
