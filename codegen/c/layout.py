"""Which axis of each statement lies in vector lanes, and which blocks live in registers.

The lane axis of a statement is the last it writes over. It is the last reduced axis instead where nothing is written over, or where
that reads fewer elements that are not neighbours: `g[m.0] over (m.0:8) = max(k.0:32) S[m.0, k.0]` runs along k.0.

A block is a set of C variables where every access can be resolved while printing: vectors along its last axis if some statement
has that axis in lanes, and scalars if none has. Otherwise it is an array in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tcomp.ir.expressions import Atom, Expr, Index, Quotient, Remainder, Value, Variable
from tcomp.ir.tile import Argument, Assign, Axis, Block, Kernel
from tcomp.ir.tile_scope import Place, Site, find_sites
from tcomp.ir.walk import index_variables

Signature = tuple[str, tuple[Index, ...], Expr, Expr | None, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The decisions for one kernel, for vectors of `lanes` lanes."""

    lanes: int
    lane_axes: Mapping[Signature, str] = field(default_factory=dict)
    vectors: frozenset[Block] = frozenset()
    scalars: frozenset[Block] = frozenset()
    rolls_limits: bool = False
    """Whether axes with limits are C loops (lanes excepted) instead of unrolled points that are tested one by one."""

    def lane_axis(self, assign: Assign) -> Axis | None:
        """The axis of a statement that lies in lanes; None if the statement is scalar code."""
        name = self.lane_axes.get(signature(assign))
        return next((axis for axis in assign.axes + assign.reduced if axis.name == name), None)


def signature(assign: Assign) -> Signature:
    """What identifies a statement whatever the sizes of its axes, which change where tails are split off."""
    names = tuple(axis.name for axis in assign.axes + assign.reduced)
    return assign.target, assign.index, assign.expression, assign.where, names


def plan_layout(kernel: Kernel, lanes: int, rolls_limits: bool = False) -> Layout:
    """Decide lanes and registers for a kernel."""
    sites = find_sites(kernel)
    lane_axes: dict[Signature, str] = {}
    for site in sites:
        axis = choose_lane_axis(site, lanes)
        if axis is not None:
            lane_axes.setdefault(signature(site.assign), axis.name)
    vectors: dict[Block, None] = {}
    scalars: dict[Block, None] = {}
    memory: dict[Block, None] = {}
    for site in sites:
        lane = lane_axes.get(signature(site.assign))
        looped = frozenset(axis.name for axis in looped_axes(site.assign, lanes, lane, rolls_limits))
        for name, index in [(site.assign.target, site.assign.index), *((load.tensor, load.index) for load in site.reads())]:
            place = site.places[name]
            if isinstance(place, Block):
                chosen = {"vector": vectors, "scalar": scalars, "memory": memory}
                chosen[_access(index, lane, looped)].setdefault(place)
    return Layout(
        lanes,
        lane_axes,
        frozenset(block for block in vectors if block not in memory),
        frozenset(block for block in scalars if block not in vectors and block not in memory),
        rolls_limits,
    )


def _access(index: tuple[Index, ...], lane: str | None, looped: frozenset[str]) -> str:
    """How one access of a block can be resolved: as a `vector` along the last axis, as a `scalar`, or in `memory` only.

    The index of a block is its axes, so only axes that are loops or lanes can be in the way.
    """
    names = [name for i in index for name in sorted(index_variables(i))]
    if looped.intersection(names) or lane in names[:-1]:
        return "memory"
    return "vector" if names and lane == names[-1] else "scalar"


def choose_lane_axis(site: Site, lanes: int) -> Axis | None:
    """The axis of a statement to lay in lanes; None where lanes would not pay or could collide."""
    assign = site.assign
    candidates = [*assign.axes[-1:]]
    if assign.reduced and folds_lanes(assign, site.places):
        candidates += assign.reduced[-1:]
    candidates = [axis for axis in candidates if axis.size * 4 >= lanes and axis.size > 1]
    candidates = [axis for axis in candidates if not scatters(assign, axis)]
    if not candidates:
        return None
    return min(candidates, key=lambda axis: _distant_accesses(site, axis))


def folds_lanes(assign: Assign, places: Mapping[str, Place]) -> bool:
    """Whether the lanes of the statement's reduction can be folded by a support function."""
    is_bool = places[assign.target].dtype.kind == "bool"
    return assign.reduce in (("any", "all", "max", "min", "xor") if is_bool else ("sum", "prod", "max", "min", "xor"))


def scatters(assign: Assign, axis: Axis) -> bool:
    """Whether lanes along an axis would write wherever loaded values say, perhaps twice at one place."""
    return any(_has_value(i) and axis.name in index_variables(i) for i in assign.index)


def _has_value(index: Index) -> bool:
    return any(_is_loaded(atom) for monomial, _ in index.terms for atom in monomial)


def _is_loaded(atom: Atom) -> bool:
    match atom:
        case Value():
            return True
        case Quotient(a, b) | Remainder(a, b):
            return _has_value(a) or _has_value(b)
        case Variable():
            return False


def _distant_accesses(site: Site, axis: Axis) -> int:
    """How many accesses of the statement take lanes along an axis from elements that are not neighbours."""
    accesses = [(load.tensor, load.index) for load in site.reads()]
    if axis in site.assign.axes:
        accesses.append((site.assign.target, site.assign.index))
    return sum(_is_distant(index, site.places[name], axis.name) for name, index in dict.fromkeys(accesses))


def _is_distant(index: tuple[Index, ...], place: Place, lane: str) -> bool:
    using = [position for position, i in enumerate(index) if lane in index_variables(i)]
    if not using:
        return False
    rest = index[using[0]] - Index((((Variable(lane),), 1),), 0)
    if len(using) > 1 or lane in index_variables(rest):
        return True
    if isinstance(place, Argument):
        return place.strides[using[0]] != Index((), 1)
    return using[0] != len(index) - 1


UNROLL_LIMIT = 512
"""Vectors or scalars of one statement; above it the outermost axes become C loops."""


def looped_axes(assign: Assign, lanes: int, lane: str | None, rolls_limits: bool) -> tuple[Axis, ...]:
    """The axes that become C loops.

    Those along which a scatter may collide, outermost ones where there are too many points, and with `rolls_limits` those that have
    a limit and are not in lanes.
    """
    counts = {a.name: -(-a.size // lanes) if a.name == lane else a.size for a in assign.axes + assign.reduced}
    chosen = [axis for axis in assign.axes if scatters(assign, axis)]
    if rolls_limits:
        limited = [axis for axis in assign.axes + assign.reduced if axis.limit is not None]
        chosen += [axis for axis in limited if axis.name != lane and axis not in chosen]
    for axis in assign.axes + assign.reduced:
        total = 1
        for name, count in counts.items():
            total *= 1 if any(name == c.name for c in chosen) else count
        if total > UNROLL_LIMIT and axis.name != lane and axis not in chosen:
            chosen.append(axis)
    return tuple(axis for axis in assign.axes + assign.reduced if axis in chosen)
