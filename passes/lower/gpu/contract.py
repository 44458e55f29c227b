"""Contractions on a GPU: one tile of the result an instance, loops over tiles of the reduced ranks, then the epilogue on the tile.

    parallel tile {
      block Y: f32[m.0:128, n.0:128] = 0.0
      for k.1 { Y[m.0, n.0] sum= sum(k.0:64) x0[128*m.1 + m.0, 64*k.1 + k.0] * x1[64*k.1 + k.0, 128*n.1 + n.0] }
      Z_out[128*m.1 + m.0, 128*n.1 + n.0] = maximum(Y[m.0, n.0] + x2[128*n.1 + n.0], 0.0)
    }

A statement that sums a product over an axis which both factors have, and of whose other axes each lacks one, is what tensor cores
compute. Where the tile has a single axis there is nothing for them to do: products are kept side by side and summed after the loop.
"""

from __future__ import annotations

from dataclasses import replace

from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import ONE, ZERO, Index, Load, as_index
from tcomp.ir.index import simplify_index
from tcomp.ir.tile import Assign, Block, Loop, TileStatement
from tcomp.ir.walk import substitute_index
from tcomp.passes.einsums.facts import accumulator_dtype, identity_of, narrow
from tcomp.passes.lower.lowering import Lowering, Split, bare, nest_loops
from tcomp.passes.lower.maps import lower_maps


def lower_gpu_contract(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower a contraction and its epilogue."""
    group, schedule = lowering.bound.group, lowering.schedule
    root = group.root
    position = group.members.index(root)
    epilogue = list(group.members[position + 1 :])
    # What comes before the contraction is part of its factors.
    lowering.inlined.update((e.name, e) for e in group.members[:position])
    lowering.cut(group.outer)
    walk = _plan_walk(lowering)
    order = [name for name in schedule.order if name in {r.name for r in root.reduced}]
    reduced = sorted(lowering.cut(root.reduced), key=lambda s: order.index(s.rank.name))
    axes = lowering.axes(r.name for r in group.outer)
    inner = lowering.axes(r.name for r in root.reduced)
    dtype = accumulator_dtype(root)
    total = lowering.block(root, dtype, axes)
    index = lowering.blocks[root.name].index
    value = lowering.expression(root.expression)
    body: list[TileStatement] = [total]
    if len(axes) > 1 or not inner:
        start = Assign(total.name, index, bare(axes), identity_of(root)[0])
        folded = {"reduce": root.reduce, "reduced": inner} if inner else {}
        update = Assign(total.name, index, axes, value, merge=root.reduce, **folded)  # type: ignore[arg-type]  # both or none
        body += [start, *nest_loops("for", reduced, (update,))]
    else:
        part = Block(lowering.fresh(f"{total.name}_part"), dtype, bare((*axes, *inner)))
        place = tuple(as_index(a.name) for a in part.axes)
        body += [part, Assign(part.name, place, part.axes, identity_of(root)[0])]
        body += nest_loops("for", reduced, (Assign(part.name, place, (*axes, *inner), value, merge=root.reduce),))
        body.append(Assign(total.name, index, bare(axes), Load(part.name, place), reduce=root.reduce, reduced=bare(inner)))
    if root.name in group.stored:
        body.append(lowering.store(root, narrow(lowering.blocks[root.name], dtype, root.dtype), axes))
    body += lower_maps(lowering, epilogue, axes)
    return _walk_tiles(lowering, walk, tuple(body))


def _plan_walk(lowering: Lowering) -> list[tuple[str, Index]]:
    """The loops over tiles, outermost first; one loop if tiles are grouped or walked in turns, from which the others are decoded.

    Raises Illegal if a group of tiles of rows does not divide their number.
    """
    schedule, launch = lowering.schedule, lowering.gpu
    names = {r.name for r in lowering.bound.group.outer}
    loops = [loop for name in schedule.order if name in names for loop in lowering.splits[name].loops]
    if not loops or not (launch.group or launch.instances):
        return loops
    tile = lowering.fresh("tile")
    total = ONE
    places: dict[str, Index] = {}
    for variable, trips in reversed(loops):
        places[variable] = (as_index(tile) // total) % trips
        total = total * trips
    if launch.group:
        if len(loops) < 2 or loops[-2][1] % launch.group != ZERO:
            raise Illegal(
                f"groups of {launch.group} tiles do not divide the rows",
                where=str(schedule),
                help="group as many tiles of rows as divide their number, where that is known, and there are several tiles of lanes",
            )
        (row, rows), (lane, lanes) = loops[-2:]
        step, width = as_index(tile) % (rows * lanes), lanes * launch.group
        places[row] = (step // width) * launch.group + step % launch.group
        places[lane] = (step % width) // launch.group
    lowering.extents[tile] = total
    bounds = lowering.bounds()
    _replace_variables(lowering, {name: simplify_index(index, bounds) for name, index in places.items()})
    return [(tile, total)]


def _replace_variables(lowering: Lowering, places: dict[str, Index]) -> None:
    """Let loop variables be computed from others."""
    for name, split in lowering.splits.items():
        axis = split.axis
        if axis is not None and axis.limit is not None:
            axis = replace(axis, limit=substitute_index(axis.limit, places))
        loops = tuple(loop for loop in split.loops if loop[0] not in places)
        lowering.splits[name] = Split(split.rank, substitute_index(split.index, places), loops, axis)


def _walk_tiles(lowering: Lowering, loops: list[tuple[str, Index]], body: tuple[TileStatement, ...]) -> tuple[TileStatement, ...]:
    """Parallel loops over tiles; with a limit on instances, each walks tiles in turns."""
    instances = lowering.gpu.instances
    if instances and loops:
        ((variable, total),) = loops
        instance = lowering.fresh("instance")
        turns = Loop("for", variable, total, body, as_index(instance), instances)
        return (Loop("parallel", instance, as_index(instances), (turns,)),)
    for variable, trips in reversed(loops):
        body = (Loop("parallel", variable, trips, body),)
    return body
