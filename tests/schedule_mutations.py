"""Random edits of a schedule, as somebody may make them who knows its words and not its cascade."""

from dataclasses import replace

from hypothesis import strategies

from tcomp.ir.expressions import as_index
from tcomp.ir.schedule import CpuLaunch, GpuLaunch, KernelSchedule

SIZES = strategies.sampled_from([1, 2, 3, 4, 5, 8, 12, 16, 32, 64])


def change_kernel(draw, schedule, edit):
    """The schedule with one kernel edited."""
    if not schedule.kernels:
        return schedule
    place = draw(strategies.integers(0, len(schedule.kernels) - 1))
    kernels = list(schedule.kernels)
    kernels[place] = edit(kernels[place])
    return replace(schedule, kernels=tuple(kernels))


def pick(draw, items):
    return draw(strategies.sampled_from(list(items)))


def without_one(draw, items):
    place = draw(strategies.integers(0, len(items) - 1)) if items else 0
    return (*items[:place], *items[place + 1 :])


def resize_tile(draw, schedule):
    def edit(kernel):
        if not kernel.tiles:
            return kernel
        place = draw(strategies.integers(0, len(kernel.tiles) - 1))
        tiles = list(kernel.tiles)
        tiles[place] = (tiles[place][0], draw(SIZES))
        return replace(kernel, tiles=tuple(tiles))

    return change_kernel(draw, schedule, edit)


def change_tiles(draw, schedule):
    """A tile less, one more, or all in another order."""

    def edit(kernel):
        match draw(strategies.integers(0, 2)):
            case 0:
                return replace(kernel, tiles=without_one(draw, kernel.tiles))
            case 1 if kernel.order:
                more = (pick(draw, kernel.order), draw(SIZES))
                return replace(kernel, tiles=(*kernel.tiles, more) if draw(strategies.booleans()) else (more, *kernel.tiles))
        return replace(kernel, tiles=tuple(draw(strategies.permutations(kernel.tiles))))

    return change_kernel(draw, schedule, edit)


def change_order(draw, schedule):
    def edit(kernel):
        if draw(strategies.integers(0, 3)):
            return replace(kernel, order=tuple(draw(strategies.permutations(kernel.order))))
        return replace(kernel, order=without_one(draw, kernel.order))

    return change_kernel(draw, schedule, edit)


def change_parallel(draw, schedule):
    def edit(kernel):
        chosen = draw(strategies.lists(strategies.sampled_from(kernel.order), unique=True)) if kernel.order else []
        return replace(kernel, parallel=tuple(chosen))

    return change_kernel(draw, schedule, edit)


def change_lanes(draw, schedule):
    return change_kernel(draw, schedule, lambda kernel: replace(kernel, lanes=pick(draw, (None, *kernel.order))))


def change_partial(draw, schedule):
    def edit(kernel):
        if kernel.order and draw(strategies.booleans()):
            return replace(kernel, partial=((pick(draw, kernel.order), draw(SIZES)),))
        return replace(kernel, partial=())

    return change_kernel(draw, schedule, edit)


def change_launch(draw, schedule):
    def edit(kernel):
        if isinstance(kernel.launch, CpuLaunch):
            names = draw(strategies.lists(strategies.sampled_from(["x0", "x1", "x2"]), unique=True))
            return replace(kernel, launch=CpuLaunch(tuple(names)))
        word = pick(draw, ("warps", "stages", "instances", "group"))
        return replace(kernel, launch=replace(kernel.launch, **{word: draw(SIZES)}))

    return change_kernel(draw, schedule, edit)


def change_joined(draw, schedule):
    """A joint rank less, with the tile of one of its ranks in place of its own, or one more of neighbours in the order."""

    def edit(kernel):
        if kernel.joined and draw(strategies.booleans()):
            name, ranks = kernel.joined[0]
            tiles = tuple((pick(draw, ranks) if rank == name else rank, size) for rank, size in kernel.tiles)
            return replace(kernel, joined=kernel.joined[1:], tiles=tiles)
        if len(kernel.order) < 2 or not isinstance(kernel.launch, GpuLaunch):
            return kernel
        place = draw(strategies.integers(0, len(kernel.order) - 2))
        ranks = kernel.order[place : place + 2]
        tiles = tuple(("joint" if rank == ranks[0] else rank, size) for rank, size in kernel.tiles if rank != ranks[1])
        return replace(kernel, joined=(*kernel.joined, ("joint", ranks)), tiles=tiles)

    return change_kernel(draw, schedule, edit)


def change_kind(draw, schedule):
    kinds = ("contract", "nest", "scan", "scatter", "fill", "chain")
    return change_kernel(draw, schedule, lambda kernel: replace(kernel, kind=pick(draw, kinds)))


def change_registers(draw, schedule):
    return change_kernel(draw, schedule, lambda kernel: replace(kernel, registers=pick(draw, (0, 1, 8, 512))))


def change_steps(draw, schedule):
    def edit(kernel):
        first = draw(strategies.integers(0, 3))
        return replace(kernel, steps=pick(draw, (None, (first, first + draw(strategies.integers(1, 4))))))

    return change_kernel(draw, schedule, edit)


def open_loops(draw, schedule):
    """A kernel whose loops are decided by somebody else."""
    return change_kernel(draw, schedule, lambda kernel: KernelSchedule(kernel.name, kernel.einsums, kernel.kind, parts=kernel.parts))


def fuse_kernels(draw, schedule):
    """One kernel in place of two, which runs as the first or the second did, or as somebody else decides."""
    if len(schedule.kernels) < 2:
        return schedule
    place = draw(strategies.integers(0, len(schedule.kernels) - 2))
    first, second = schedule.kernels[place : place + 2]
    loops = pick(draw, (first, second, KernelSchedule("k", (), first.kind)))
    both = replace(loops, einsums=(*first.einsums, *second.einsums), kind=pick(draw, (first.kind, second.kind)), parts=())
    return replace(schedule, kernels=(*schedule.kernels[:place], both, *schedule.kernels[place + 2 :]))


def chain_kernels(draw, schedule):
    """One kernel in place of three, of which each becomes a part, with the loops of one of them."""
    if len(schedule.kernels) < 3:
        return schedule
    place = draw(strategies.integers(0, len(schedule.kernels) - 3))
    three = schedule.kernels[place : place + 3]
    einsums = tuple(name for kernel in three for name in kernel.einsums)
    chain = replace(pick(draw, three), einsums=einsums, kind="chain", parts=tuple(len(kernel.einsums) for kernel in three))
    return replace(schedule, kernels=(*schedule.kernels[:place], chain, *schedule.kernels[place + 3 :]))


def split_kernel(draw, schedule):
    """Two kernels in place of one, which run as it did, or as somebody else decides."""
    long = [place for place, kernel in enumerate(schedule.kernels) if len(kernel.einsums) > 1]
    if not long:
        return schedule
    place = pick(draw, long)
    kernel = schedule.kernels[place]
    cut = draw(strategies.integers(1, len(kernel.einsums) - 1))
    halves = []
    for names in (kernel.einsums[:cut], kernel.einsums[cut:]):
        kind = pick(draw, (kernel.kind, "nest", "contract"))
        halves.append(pick(draw, (replace(kernel, einsums=names, kind=kind, parts=()), KernelSchedule("k", names, kind))))
    return replace(schedule, kernels=(*schedule.kernels[:place], *halves, *schedule.kernels[place + 1 :]))


def move_kernel(draw, schedule):
    if len(schedule.kernels) < 2:
        return schedule
    kernels = list(schedule.kernels)
    kernels.insert(draw(strategies.integers(0, len(kernels) - 1)), kernels.pop(draw(strategies.integers(0, len(kernels) - 1))))
    return replace(schedule, kernels=tuple(kernels))


def change_addresses(draw, schedule):
    """A tensor where another one is, or a bit further, or nowhere; or all of them are placed by somebody else."""
    addresses = list(schedule.addresses)
    choice = draw(strategies.integers(0, 5))
    if not addresses or choice == 0:
        return replace(schedule, addresses=(), arena=None)
    place = draw(strategies.integers(0, len(addresses) - 1))
    name, offset = addresses[place]
    match choice:
        case 1:
            del addresses[place]
        case 2:
            addresses[place] = (name, pick(draw, addresses)[1])
        case 3:
            addresses[place] = (name, as_index(draw(strategies.sampled_from([0, 64, 128, 192, 256, 1024]))))
        case 4:
            addresses[place] = (name, offset + draw(strategies.sampled_from([64, -64, 4096])))
        case 5:
            return replace(schedule, arena=as_index(draw(strategies.sampled_from([0, 64, 1 << 20]))))
    arena = schedule.arena if draw(strategies.booleans()) else as_index(1 << 20)
    return replace(schedule, addresses=tuple(addresses), arena=arena)


def change_layouts(draw, schedule):
    """A layout less, of another order, or of a tensor that had none."""
    layouts = dict(schedule.layouts)
    names = [*layouts, *(name for name, _ in schedule.addresses)]
    if not names:
        return schedule
    name = pick(draw, names)
    if name in layouts and draw(strategies.booleans()):
        del layouts[name]
    else:
        count = len(layouts[name]) if name in layouts else draw(strategies.integers(1, 3))
        layouts[name] = tuple(draw(strategies.permutations(range(count))))
    return replace(schedule, layouts=tuple(layouts.items()))


def change_names(draw, schedule):
    """A tensor less in a list of tensors, or one more."""
    word = pick(draw, ("wide", "held", "again", "expanded", "prologues"))
    names = getattr(schedule, word)
    einsums = [name for kernel in schedule.kernels for name in kernel.einsums]
    if (names and draw(strategies.booleans())) or not einsums:
        return replace(schedule, **{word: without_one(draw, names)})
    return replace(schedule, **{word: tuple(dict.fromkeys((*names, pick(draw, einsums))))})


def change_groups(draw, schedule):
    """A group less, or one in another number of parts."""
    if not schedule.groups or draw(strategies.booleans()):
        return replace(schedule, groups=without_one(draw, schedule.groups))
    place = draw(strategies.integers(0, len(schedule.groups) - 1))
    groups = list(schedule.groups)
    if groups[place].parts is not None:
        groups[place] = replace(groups[place], parts=(groups[place].parts[0], draw(SIZES)))
    return replace(schedule, groups=tuple(groups))


def change_packings(draw, schedule):
    if not schedule.packings or not draw(strategies.integers(0, 3)):
        return replace(schedule, packings=without_one(draw, schedule.packings))
    place = draw(strategies.integers(0, len(schedule.packings) - 1))
    packings = list(schedule.packings)
    ranks = [rank for kernel in schedule.kernels for rank in kernel.order] or [packings[place].rank]
    rank = packings[place].rank if draw(strategies.booleans()) else pick(draw, ranks)
    packings[place] = replace(packings[place], width=draw(SIZES), rank=rank)
    return replace(schedule, packings=tuple(packings))


def change_prelude(draw, schedule):
    if schedule.prelude is None or not draw(strategies.integers(0, 4)):
        return replace(schedule, prelude=None)
    edit = pick(draw, (resize_tile, change_order, change_parallel, open_loops, move_kernel))
    return replace(schedule, prelude=edit(draw, schedule.prelude))


LOOPS = (resize_tile, resize_tile, change_tiles, change_order, change_parallel, change_lanes, change_partial, change_launch, change_joined)
KERNELS = (fuse_kernels, chain_kernels, split_kernel, move_kernel, open_loops, change_kind, change_steps, change_registers)
REST = (change_addresses, change_addresses, change_layouts, change_names, change_groups, change_packings, change_prelude)


@strategies.composite
def mutated(draw, guessed):
    """A guessed schedule with a few random edits; mostly without addresses where kernels became others, so that others decide them."""
    schedule = guessed
    edits = draw(strategies.lists(strategies.sampled_from([*LOOPS * 2, *KERNELS, *REST]), min_size=1, max_size=3))
    for edit in edits:
        schedule = edit(draw, schedule)
    if any(edit in KERNELS for edit in edits) and draw(strategies.integers(0, 4)):
        schedule = replace(schedule, addresses=(), arena=None)
    return schedule
