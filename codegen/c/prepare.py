"""Rewrites of tile programs that suit vector registers; each keeps the program's meaning.

    s[] over (i:8) sum= x[i]
        =>  s[] over () sum= sum(i:8) x[i]

    for k in 0 .. K step 32 { s[] over () sum= sum(k.0:32) X[k + k.0] }
        =>  block s.lanes: f32[k.0:32]
            s.lanes[k.0] over (k.0:32) = 0.0
            for k in 0 .. K step 32 { s.lanes[k.0] over (k.0:32) sum= X[k + k.0] }
            s[] over () sum= sum(k.0:32) s.lanes[k.0]
                if nothing else in the loop touches s, and no loop stands beside the statement, which then is rare
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import assert_never

from tcomp.codegen.c.layout import choose_lane_axis
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Load, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.tile import Assign, Axis, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement, walk_statements
from tcomp.ir.tile_scope import Place, Site
from tcomp.ir.walk import index_variables

Body = tuple[TileStatement, ...]

MOST_REGISTERS = 16
"""Vectors that may be spent on the lanes of a reduction; more would leave none for its operands."""


def prepare_kernel(kernel: Kernel, lanes: int) -> Kernel:
    """Apply the rewrites of this module; raises Illegal for a kernel with scans, which only GPUs have."""
    for statement in walk_statements(kernel.body):
        if isinstance(statement, Scan):
            raise Illegal(
                f"the scan of {statement.target} has no form in C",
                where=f"kernel {kernel.name}",
                help="walk the rank in a loop, carrying the result of the step before",
            )
    kernel = replace(kernel, body=tuple(map(_reduce_collisions, kernel.body)))
    places: dict[str, Place] = {argument.name: argument for argument in kernel.arguments}
    return replace(kernel, body=_Widening(kernel, lanes, _names(kernel)).body(kernel.body, places, ()))


def _reduce_collisions(statement: TileStatement) -> TileStatement:
    """Write merges that collide, because the target does not depend on some axis, as reductions over that axis."""
    match statement:
        case Loop():
            return replace(statement, body=tuple(map(_reduce_collisions, statement.body)))
        case Assign(merge=merge, reduce=reduce) if merge not in (None, "last") and reduce in (None, merge):
            used = set().union(*map(index_variables, statement.index))
            kept = tuple(axis for axis in statement.axes if axis.name in used)
            moved = tuple(axis for axis in statement.axes if axis.name not in used)
            if not moved:
                return statement
            return replace(statement, axes=kept, reduce=merge, reduced=moved + statement.reduced)
        case _:
            return statement


def _names(kernel: Kernel) -> set[str]:
    declared = {s.name for s in walk_statements(kernel.body) if isinstance(s, (Block, Buffer))}
    return declared | {argument.name for argument in kernel.arguments} | {symbol.name for symbol in kernel.symbols}


@dataclass(slots=True)
class _Widening:
    """Gives reductions that a loop repeats one accumulator for each lane, folded after the loop instead of at every step."""

    kernel: Kernel
    lanes: int
    taken: set[str]

    def body(self, body: Body, places: dict[str, Place], loops: tuple[Loop, ...]) -> Body:
        """A body with the reductions in its loops widened."""
        written: list[TileStatement] = []
        for statement in body:
            match statement:
                case Loop(kind="for"):
                    written += self._loop(statement, places, loops)
                case Loop():
                    written.append(replace(statement, body=self.body(statement.body, places, (*loops, statement))))
                case Block() | Buffer():
                    places = places | {statement.name: statement}
                    written.append(statement)
                case Assign() | Prefetch() | Scan():
                    written.append(statement)
                case _:
                    assert_never(statement)
        return tuple(written)

    def _loop(self, loop: Loop, places: dict[str, Place], loops: tuple[Loop, ...]) -> list[TileStatement]:
        before: list[TileStatement] = []
        after: list[TileStatement] = []
        known = {outer.variable for outer in loops}
        for site in _sites(self.kernel, loop.body, places, (*loops, loop)):
            target = site.assign.target
            axis = self._lane_axis(site, places, known)
            if axis is None or _touches(self.kernel, loop, target) != 1 or _is_beside_loop(loop.body, site.assign):
                continue
            wide, inner, first, last = self._split(site.assign, axis, places[target].dtype)
            before += [wide, first]
            after.append(last)
            loop = replace(loop, body=_replaced(loop.body, site.assign, inner))
            places = places | {wide.name: wide}
        return [*before, replace(loop, body=self.body(loop.body, places, (*loops, loop))), *after]

    def _lane_axis(self, site: Site, places: dict[str, Place], known: set[str]) -> Axis | None:
        """The reduced axis to keep apart until after the loop; None if the statement does not allow it."""
        assign = site.assign
        block = places.get(assign.target)
        if not isinstance(block, Block) or assign.reduce is None or assign.merge != assign.reduce:
            return None
        if block.dtype != compute_dtype(block.dtype):
            return None
        axis = choose_lane_axis(site, self.lanes)
        if axis is None or axis not in assign.reduced:
            return None
        loops = {loop.variable for loop in site.loops} - known
        if any(a.limit is not None and index_variables(a.limit) & loops for a in assign.axes):
            return None
        vectors = prod(a.size for a in assign.axes) * -(-axis.size // self.lanes)
        return axis if vectors <= MOST_REGISTERS else None

    def _split(self, assign: Assign, axis: Axis, dtype: DType) -> tuple[Block, Assign, Assign, Assign]:
        """The wide block, the statement that folds into it, and those that start it and fold its lanes."""
        assert assign.reduce is not None
        name = f"{assign.target}.lanes"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        whole = Axis(axis.name, axis.size)
        plain = tuple(Axis(a.name, a.size) for a in assign.axes)
        index = tuple(as_index(a.name) for a in (*assign.axes, axis))
        start = MONOIDS[assign.reduce].identity(dtype)[0]
        rest = tuple(a for a in assign.reduced if a != axis)
        return (
            Block(name, dtype, (*plain, whole)),
            replace(
                assign,
                target=name,
                index=index,
                axes=(*assign.axes, axis),
                reduced=rest,
                reduce=assign.reduce if rest else None,
            ),
            Assign(name, index, (*plain, whole), start),
            Assign(assign.target, assign.index, assign.axes, Load(name, index), assign.merge, assign.reduce, (whole,)),
        )


def _sites(kernel: Kernel, body: Body, places: dict[str, Place], loops: tuple[Loop, ...]) -> Iterator[Site]:
    for statement in body:
        match statement:
            case Loop():
                yield from _sites(kernel, statement.body, places, (*loops, statement))
            case Block() | Buffer():
                places = places | {statement.name: statement}
            case Assign():
                yield Site(kernel, statement, places, loops)


def _touches(kernel: Kernel, loop: Loop, name: str) -> int:
    """How often the statements of a loop read or write a name."""
    sites = _sites(kernel, loop.body, {}, ())
    return sum((site.assign.target == name) + sum(load.tensor == name for load in site.reads()) for site in sites)


def _is_beside_loop(body: Body, assign: Assign) -> bool:
    """Whether a statement stands in one body with a loop."""
    loops = [statement for statement in body if isinstance(statement, Loop)]
    if assign in body:
        return bool(loops)
    return any(_is_beside_loop(loop.body, assign) for loop in loops)


def _replaced(body: Body, old: Assign, new: Assign) -> Body:
    def change(statement: TileStatement) -> TileStatement:
        if isinstance(statement, Loop):
            return replace(statement, body=_replaced(statement.body, old, new))
        return new if statement == old else statement

    return tuple(map(change, body))
