"""Pairs of neighbours in memory, of which one part is wanted in the lanes of a vector and the other in those of another.

    x[2*(16*i + lane) + c]        c = 0: tcomp_load_first_vf32(x + 32*i)        c = 1: tcomp_load_second_vf32(x + 32*i)

A tensor has pairs where its last dimension is of two neighbours. Vectors of whole pairs lie inside it wherever one part does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from tcomp.codegen.c.memory import Address, Home, Memory, Pointer
from tcomp.codegen.c.tree import Call, CExpression, CStatement, Evaluate, call
from tcomp.codegen.c.types import VECTOR_TYPES, Value, storage_of
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import ONE, Apply, Constant, Expr, Index, Ordinal, Variable, as_index
from tcomp.ir.index import is_data
from tcomp.ir.tile import Assign, Axis
from tcomp.ir.walk import index_variables, map_arguments, substitute

PARTS = 2

COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}


def has_pairs(memory: Memory) -> bool:
    """Whether the last dimension is of two neighbours, which vectors of this type are taken apart into and put together from."""
    is_last = len(memory.shape) > 1 and memory.shape[-1] == as_index(PARTS) and memory.strides[-1] == ONE
    return is_last and not storage_of(memory.dtype).suffix


def read_part(pointer: Pointer, part: int, dtype: DType, count: CExpression | None) -> CExpression:
    """Read one part of the pairs that start at a pointer: of as many as there are lanes, or of the first `count`."""
    which = ("first", "second")[part]
    arguments = (pointer.code,) if count is None else (pointer.code, count)
    return Call(f"tcomp_load_{'' if count is None else 'part_'}{which}_{VECTOR_TYPES[storage_of(dtype).kind]}", arguments)


def gather_part(lanes: tuple[Pointer, Value], part: int, dtype: DType) -> CExpression | None:
    """Read one part of the pairs at offsets from a pointer; None if that is not faster than to read the parts by themselves."""
    pointer, offsets = lanes
    vector = VECTOR_TYPES[storage_of(dtype).kind]
    if vector not in ("vf32", "vi32"):
        return None
    return call(f"tcomp_gather_{('first', 'second')[part]}_{vector}_{VECTOR_TYPES[offsets.kind][1:]}", pointer.code, offsets.code)


def write_both(pointer: Pointer, parts: tuple[CExpression, CExpression], dtype: DType, count: CExpression | None) -> CStatement:
    """Write pairs from a pointer on: as many as there are lanes, or the first `count`."""
    arguments = (pointer.code, *parts) if count is None else (pointer.code, *parts, count)
    return Evaluate(Call(f"tcomp_store_{'' if count is None else 'part_'}both_{VECTOR_TYPES[storage_of(dtype).kind]}", arguments))


@dataclass(frozen=True, slots=True)
class PairAddress:
    """One part of a pair, or of the pairs of all lanes: where they start, and the number of the part."""

    start: Address
    part: int


@dataclass(frozen=True, slots=True)
class Halves:
    """A map that writes both parts of pairs: the axis that names the part, and what is written to each."""

    axis: Axis
    parts: tuple[Expr, Expr]


def find_halves(assign: Assign, home: Home, lane: Axis | None, looped: tuple[Axis, ...]) -> Halves | None:
    """The halves of a map that writes whole pairs, one after the other along the lanes; None of one that does not."""
    if lane is None or not isinstance(home, Memory) or not has_pairs(home):
        return None
    if assign.reduce is not None or assign.merge is not None or assign.where is not None or any(map(is_data, assign.index)):
        return None
    *rest, last = assign.index
    axis = next((a for a in assign.axes if last == as_index(a.name)), None)
    if axis is None or axis == lane or axis.size != PARTS or axis.limit is not None or axis in looped:
        return None
    flat = as_index(0)
    for i, stride in zip(rest, home.strides):
        flat = flat + i * stride
    others = Index(tuple(term for term in flat.terms if term != ((Variable(lane.name),), PARTS)), flat.constant)
    if others == flat or {axis.name, lane.name} & index_variables(others):
        return None
    first, second = (at_part(assign.expression, axis, part) for part in range(PARTS))
    return Halves(axis, (first, second))


def at_part(expression: Expr, axis: Axis, part: int) -> Expr:
    """An expression at one point of an axis, without the choices that this decides."""
    return _decide(substitute(expression, {axis.name: as_index(part)}))


def _decide(expression: Expr) -> Expr:
    match expression:
        case Apply("select", (Apply(name, (a, b)), x, y)) if name in COMPARISONS:
            left, right = _number(a), _number(b)
            if left is not None and right is not None:
                return _decide(x if COMPARISONS[name](left, right) else y)
    return map_arguments(expression, _decide)


def _number(expression: Expr) -> int | None:
    match expression:
        case Ordinal(index, _) if index.is_constant:
            return index.constant
        case Constant(value, dtype) if not dtype.is_float:
            return int(value)
    return None
