"""Whether a kernel may write its result over an argument that it reads.

It may if every element is read for the last time before it is written, and by the instance that writes it:

    for i { s[] sum= x[j, i] }   for i { y[j, i] = x[j, i] - s[] }      y may be x: row j is read before, in the instance that writes it
    for i { y[j, i] = x[j, i] - x[j, 0] }                               it may not: x[j, 0] is read after it was written

Proved is that where a load and the store meet in one element, all loops around both are at the same step, in which the load comes
first. What is not proved may be true all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tcomp.ir.check.tile_bounds import site_ends
from tcomp.ir.expressions import ZERO, Index, Load, Variable, as_index
from tcomp.ir.index import is_data
from tcomp.ir.prove import Prover
from tcomp.ir.tile import Argument, Assign, Kernel, Loop, Prefetch, TileStatement, contiguous_strides
from tcomp.ir.tile_scope import Site, find_sites
from tcomp.ir.walk import index_variables


def may_overwrite(kernel: Kernel, read: str, written: str) -> bool:
    """Whether the `out` argument `written` is proved to be able to take the place of the `in` argument `read`."""
    arguments = {argument.name: argument for argument in kernel.arguments}
    old, new = arguments[read], arguments[written]
    if (old.role, new.role) != ("in", "out") or (old.dtype, old.shape, old.strides) != (new.dtype, new.shape, new.strides):
        return False
    sites = find_sites(kernel)
    stores = [number for number, site in enumerate(sites) if site.assign.target == written]
    if len(stores) != 1 or not _keeps_elements_apart(old) or any(load.tensor == written for site in sites for load in site.reads()):
        return False
    last = stores[0]
    reads = [(number, load) for number, site in enumerate(sites) for load in site.reads() if load.tensor == read]
    return all(number <= last and _comes_first(sites[number], load, sites[last]) for number, load in dict.fromkeys(reads))


def overwrite(kernel: Kernel, read: str, written: str) -> Kernel:
    """The kernel with one argument for both, named `read`.

    kernel f(in x: f32[8], out y: f32[8]) { for i in 0 .. 8 { y[i] over () = exp(x[i]) } }
        =>  kernel f(inout x: f32[8]) { for i in 0 .. 8 { x[i] over () = exp(x[i]) } }
    """

    def change(statement: TileStatement) -> TileStatement:
        match statement:
            case Loop():
                return replace(statement, body=tuple(map(change, statement.body)))
            case Assign(target=target) if target == written:
                return replace(statement, target=read)
            case Prefetch(tensor=tensor) if tensor == written:
                return replace(statement, tensor=read)
            case _:
                return statement

    arguments = tuple(replace(a, role="inout") if a.name == read else a for a in kernel.arguments if a.name != written)
    return replace(kernel, arguments=arguments, body=tuple(map(change, kernel.body)))


def _keeps_elements_apart(argument: Argument) -> bool:
    """Whether no two indices inside the shape are one element."""
    if argument.strides == contiguous_strides(argument.shape):
        return True
    if not all(size.is_constant for size in (*argument.shape, *argument.strides)):
        return False
    reach = 0
    for stride, extent in sorted((s.constant, e.constant) for s, e in zip(argument.strides, argument.shape) if e.constant > 1):
        if stride <= reach:
            return False
        reach += stride * (extent - 1)
    return True


@dataclass(frozen=True, slots=True)
class _Steps:
    """A variable that counts in steps, to a number of them if that is known."""

    name: str
    step: int
    count: int | None


def _comes_first(site: Site, load: Load, store: Site) -> bool:
    """Whether a load, in a statement that is no later than the store's, has read an element whenever the store writes it."""
    common = [_count_steps(a) for a, b in zip(site.loops, store.loops) if a is b]
    if site.assign is store.assign:
        # Its points may be written one by one, so none may read what another writes; C is not written for other places at all.
        if load.index != store.assign.index:
            return False
        common += [_Steps(axis.name, 1, axis.size) for axis in store.assign.axes]
    fixed: set[str] = {steps.name for steps in common if steps.count == 1}
    for mine, its in zip(load.index, store.assign.index):
        fixed.update(_find_fixed((site, mine), (store, its), common))
    return fixed >= {steps.name for steps in common}


def _count_steps(loop: Loop) -> _Steps:
    if not (loop.start.is_constant and loop.stop.is_constant):
        return _Steps(loop.variable, 1, None)
    return _Steps(loop.variable, loop.step, max(0, -(-(loop.stop - loop.start).constant // loop.step)))


def _find_fixed(mine: tuple[Site, Index], its: tuple[Site, Index], common: Sequence[_Steps]) -> Iterator[str]:
    """The common variables that have one value wherever an index of the load is that of the store.

    The two are sums of c*v, the same in both, and of a rest: 64*v + r and 64*v + q with r and q in 0 .. 64 are equal for one v only.
    """
    parts: list[tuple[int, _Steps]] = []
    rests = [mine[1], its[1]]
    for steps in common:
        monomial = (Variable(steps.name),)
        factors = [dict(rest.terms).get(monomial, 0) for rest in rests]
        rests = [rest - as_index(steps.name) * factor for rest, factor in zip(rests, factors)]
        if factors[0] != factors[1] or factors[0] < 0 or any(steps.name in index_variables(rest) for rest in rests):
            return
        if factors[0]:
            parts.append((factors[0] * steps.step, steps))
    parts.sort(key=lambda part: (part[0], part[1].name))
    if not parts or any(map(is_data, rests)):
        return
    reach = 0
    if rests[0] != rests[1] or index_variables(rests[0]) - {symbol.name for symbol in mine[0].kernel.symbols}:
        if not all(_is_within(site, rest, parts[0][0]) for (site, _), rest in zip((mine, its), rests)):
            return
        reach = parts[0][0] - 1
    for distance, steps in parts:
        if distance <= reach:
            return
        if steps.count is None and steps is not parts[-1][1]:
            return
        reach += distance * ((steps.count or 1) - 1)
    yield from (steps.name for _, steps in parts)


def _is_within(site: Site, index: Index, size: int) -> bool:
    """Whether an index is proved to be in 0 .. size."""
    prover = Prover(site_ends(site))
    return index == ZERO or (prover.is_never_negative(index) and prover.is_never_negative(size - 1 - index))
