"""What is done to a kernel before it is written in Triton.

E[I[t.0], d.0] over (t.0:4 < T, d.0:16) sum= G[t.0, d.0]      =>  for t.0 in 0 .. 4 {
  (points along t.0 may meet in one element)                       E[I[t.0], d.0] over (t.0.one:1 < T - t.0, d.0:16) sum= ... }
total[] over (n.0:8) sum= X[n.0]                              =>  total[] over () sum= sum(n.0:8) X[n.0]
top[] over (n.0:8) max= sum(k.0:4) X[n.0, k.0]                =>  block part: f32[n.0:8]
                                                                  part[n.0] over (n.0:8) = sum(k.0:4) X[n.0, k.0]
                                                                  top[] over () max= max(n.0:8) part[n.0]
s[m.0] over (m.0:64) = max(n.0:999, k.0:999) f(m.0, n.0, k.0) =>  a loop over n.0 with s as a block: too large for registers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from math import prod

from tcomp.codegen.triton.contraction import find_dot
from tcomp.codegen.triton.scope import next_power
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, compute_dtype, i64
from tcomp.ir.expressions import Cast, Expr, Index, Load, Quotient, Remainder, Variable, apply, as_index, constant
from tcomp.ir.monoids import MONOIDS, position_of
from tcomp.ir.tile import Assign, Axis, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement
from tcomp.ir.tile_scope import Place
from tcomp.ir.walk import index_variables, loads, variables

MOST_POINTS = 2**17
"""Points of one statement that are held at once; beyond it axes become loops where that is possible."""


def prepare_kernel(kernel: Kernel) -> Kernel:
    """A kernel that means the same, in which no merge has points that meet and no statement has too many points."""
    preparer = _Preparer({a.name: a for a in kernel.arguments}, count(1))
    return replace(kernel, body=preparer.body(kernel.body))


@dataclass(frozen=True, slots=True)
class _Preparer:
    places: Mapping[str, Place]
    numbers: count[int]

    def body(self, body: tuple[TileStatement, ...]) -> tuple[TileStatement, ...]:
        places = dict(self.places)
        inside = _Preparer(places, self.numbers)
        written: list[TileStatement] = []
        for statement in body:
            match statement:
                case Loop():
                    written.append(replace(statement, body=inside.body(statement.body)))
                case Buffer() | Block():
                    places[statement.name] = statement
                    written.append(statement)
                case Assign():
                    written += inside.assign(statement)
                case Scan():
                    written.append(statement)
                case Prefetch():
                    pass
        return tuple(written)

    def assign(self, assign: Assign) -> list[TileStatement]:
        """One statement in as many as it takes."""
        if assign.merge is not None and not assign.is_atomic:
            used = variables(Load(assign.target, assign.index))
            missing = tuple(axis for axis in assign.axes if axis.size > 1 and axis.name not in used)
            if missing:
                return [self._loop(assign, missing[0])] if assign.merge == "last" else self._fold(assign, missing)
        if assign.reduce == "last":
            return self._find_last(assign)
        meeting = self._meeting(assign)
        if meeting:
            return [self._loop(assign, meeting[0])]
        return self._shrink(assign)

    def _fold(self, assign: Assign, missing: tuple[Axis, ...]) -> list[TileStatement]:
        """Fold over the axes that the target does not have before merging."""
        kept = tuple(axis for axis in assign.axes if axis not in missing)
        if assign.reduce in (None, assign.merge):
            folded = replace(assign, axes=kept, reduce=assign.merge, reduced=missing + assign.reduced)
            return self.assign(folded)
        part, index = self._block(assign, assign.axes)
        first = replace(assign, target=part.name, index=index, merge=None)
        second = replace(assign, axes=kept, expression=Load(part.name, index), where=None, reduce=assign.merge, reduced=missing)
        inside = _Preparer({**self.places, part.name: part}, self.numbers)
        return [part, *inside.assign(first), *inside.assign(second)]

    def _block(self, assign: Assign, axes: tuple[Axis, ...]) -> tuple[Block, tuple[Index, ...]]:
        """A block for a part of a statement's result, of its axes without their limits."""
        dtype = compute_dtype(expression_dtype(assign.expression, self._dtypes()))
        block = Block(f"part_{next(self.numbers)}", dtype, tuple(replace(axis, limit=None) for axis in axes))
        return block, tuple(as_index(axis.name) for axis in axes)

    def _dtypes(self) -> dict[str, DType]:
        return {name: place.dtype for name, place in self.places.items()}

    def _find_last(self, assign: Assign) -> list[TileStatement]:
        """The element at the last position that is folded, since tensors are folded in no order; the identity if there is none."""
        dtypes = self._dtypes()
        dtype = expression_dtype(assign.expression, dtypes)
        position = position_of((axis.name, as_index(axis.size)) for axis in assign.reduced)
        last, index = self._block(replace(assign, expression=position), assign.axes)
        value, _ = self._block(assign, assign.axes)
        is_last: Expr = apply("eq", position, Load(last.name, index))
        where = is_last if assign.where is None else apply("and", assign.where, is_last)
        nothing = apply("lt", Load(last.name, index), constant(0, i64))
        element = Cast(dtype, Load(value.name, index)) if dtype != value.dtype else Load(value.name, index)
        found: Expr = apply("select", nothing, constant(0, dtype), element)
        if assign.merge is None and dtypes[assign.target] != dtype:
            found = Cast(dtypes[assign.target], found)
        parts = (last, value)
        inside = _Preparer({**self.places, **{part.name: part for part in parts}}, self.numbers)
        return [
            *parts,
            *inside.assign(replace(assign, target=last.name, index=index, merge=None, reduce="max", expression=position)),
            *inside.assign(replace(assign, target=value.name, index=index, merge=None, reduce="max", where=where)),
            *inside.assign(replace(assign, expression=found, where=None, reduce=None, reduced=())),
        ]

    def _meeting(self, assign: Assign) -> list[Axis]:
        """Axes along which points of a merge may meet in one element of memory."""
        if assign.merge is None or assign.is_atomic or isinstance(self.places[assign.target], Block):
            return []
        meeting = find_meeting_axes(assign)
        # With `last` the order of points counts, so all axes up to the last one that matters are walked.
        return [axis for axis in assign.axes if axis.size > 1] if meeting and assign.merge == "last" else meeting

    def _loop(self, assign: Assign, axis: Axis) -> TileStatement:
        """A statement one point of an axis at a time."""
        one = Axis(f"{axis.name}.one", 1, axis.limit - as_index(axis.name) if axis.limit is not None else None)
        axes = tuple(one if a == axis else a for a in assign.axes)
        return Loop("for", axis.name, as_index(axis.size), tuple(self.assign(replace(assign, axes=axes))))

    def _shrink(self, assign: Assign) -> list[TileStatement]:
        """A statement with few enough points at once."""
        axes = assign.axes + assign.reduced
        if prod(next_power(axis.size) for axis in axes) <= MOST_POINTS or find_dot(assign, self._dtypes()) is not None:
            return [assign]
        held = {axis.name for load in loads(assign.expression) for axis in self._block_axes(load.tensor)}
        held |= {axis.name for axis in self._block_axes(assign.target)}
        free = [axis for axis in axes if axis.size > 1 and axis.name not in held]
        folded = [axis for axis in assign.reduced if axis in free]
        if folded and (MONOIDS[assign.reduce or "last"].operator is not None):
            return self._loop_reduced(assign, folded[0])
        written = [axis for axis in free if axis in assign.axes]
        return [self._loop(assign, written[0])] if written else [assign]

    def _block_axes(self, name: str) -> tuple[Axis, ...]:
        place = self.places[name]
        return place.axes if isinstance(place, Block) else ()

    def _loop_reduced(self, assign: Assign, axis: Axis) -> list[TileStatement]:
        """A reduction with one of its axes walked."""
        assert assign.reduce is not None
        part, index = self._block(assign, assign.axes)
        start = MONOIDS[assign.reduce].identity(part.dtype)[0]
        one = Axis(f"{axis.name}.one", 1, axis.limit - as_index(axis.name) if axis.limit is not None else None)
        reduced = tuple(one if a == axis else a for a in assign.reduced)
        step = replace(assign, target=part.name, index=index, merge=assign.reduce, reduced=reduced)
        inside = _Preparer({**self.places, part.name: part}, self.numbers)
        last = replace(assign, expression=Load(part.name, index), where=None, reduce=None, reduced=())
        return [
            part,
            Assign(part.name, index, part.axes, start),
            Loop("for", axis.name, as_index(axis.size), tuple(inside.assign(step))),
            *inside.assign(last),
        ]


def find_meeting_axes(assign: Assign) -> list[Axis]:
    """The axes along which two points may write one element: those whose number the target's index does not tell."""
    sizes = {axis.name: axis.size for axis in assign.axes if axis.size > 1}
    told: set[str] = set()
    dimensions = [*assign.index, *_whole_indices(assign.index)]
    while True:
        found = [name for index in dimensions for name in _told_by(index, sizes, told) if name not in told]
        if not found:
            return [axis for axis in assign.axes if axis.name in sizes and axis.name not in told]
        told.update(found)


def _whole_indices(dimensions: tuple[Index, ...]) -> list[Index]:
    """x, where both x // c and x % c are indices."""
    atoms = [i.terms[0][0][0] for i in dimensions if i.constant == 0 and len(i.terms) == 1 and len(i.terms[0][0]) == 1]
    quotients = {(a.numerator, a.denominator) for a in atoms if isinstance(a, Quotient)}
    return [a.numerator for a in atoms if isinstance(a, Remainder) and (a.numerator, a.denominator) in quotients]


def _told_by(index: Index, sizes: Mapping[str, int], told: set[str]) -> list[str]:
    """The axes whose number follows from an index when those of `told` axes are known."""
    steps: dict[str, int] = {}
    for monomial, coefficient in index.terms:
        unknown = {name for name in index_variables(Index(((monomial, coefficient),), 0)) if name in sizes and name not in told}
        if not unknown:
            continue
        if len(monomial) != 1 or not isinstance(monomial[0], Variable):
            return []
        steps[monomial[0].name] = abs(coefficient)
    reach = 0
    for name in sorted(steps, key=lambda n: steps[n]):
        if steps[name] <= reach:
            return []
        reach += steps[name] * (sizes[name] - 1)
    return list(steps)
