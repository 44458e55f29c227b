"""Where elements lie: the small pieces of index arithmetic that several lowerings share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from tcomp.ir.dtypes import DType, i64
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ZERO, Index, Number, as_index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.scalars import Scalar, ordinal, select

Point: TypeAlias = tuple[Index, ...]


def zero(dtype: DType) -> Number:
    """Zero as a literal of a type, for the outside of loads."""
    zeros: dict[str, Number] = {"float": 0.0, "int": 0, "bool": False}
    return zeros[dtype.kind]


def lowest(dtype: DType) -> Number:
    """The least value of a type: minus infinity, the least integer or False."""
    if dtype.is_int:
        return -(1 << (dtype.bits - 1)) if dtype.signed else 0
    return float("-inf") if dtype.is_float else False


def highest(dtype: DType) -> Number:
    """The greatest value of a type: infinity, the greatest integer or True."""
    if dtype.is_int:
        return (1 << (dtype.bits - dtype.signed)) - 1
    return float("inf") if dtype.is_float else True


def dimension(dim: int, rank: int) -> int:
    """A dimension counted from the front; a zero-dimensional tensor counts as one with one dimension."""
    return dim % max(rank, 1)


def static(size: Index | int, what: str) -> int:
    """The integer that a size is; raises Unsupported if it is symbolic."""
    index = as_index(size)
    if not index.is_constant:
        raise Unsupported(f"{what} is the symbolic size {index}, and must be fixed", help="compile with dynamic=False")
    return index.constant


def statics(sizes: Sequence[Index | int] | Index | int, count: int, what: str) -> tuple[int, ...]:
    """One integer a dimension: one given number stands for all. Raises Unsupported if one is symbolic."""
    listed = [sizes] if isinstance(sizes, (int, Index)) else list(sizes)
    values = tuple(static(size, what) for size in listed)
    return values * count if len(values) == 1 else values


def spatial_rank(build: Builder) -> int:
    """How many dimensions the operator slides over: the number in its name, 2 for max_pool2d."""
    assert build.node is not None
    found = re.search(r"([123])d", str(build.node.target))
    assert found is not None, f"{build.node.target} does not say how many dimensions it has"
    return int(found[1])


def product(sizes: Sequence[Index]) -> Index:
    """The number of elements of a shape."""
    total = as_index(1)
    for size in sizes:
        total = total * size
    return total


def flat_position(ranks: Sequence[Index], shape: Sequence[Index]) -> Index:
    """The row-major position of a point of a shape."""
    total = as_index(0)
    for rank, extent in zip(ranks, shape):
        total = total * extent + rank
    return total


def unflat_position(position: Index, shape: Sequence[Index]) -> list[Index]:
    """The point of a shape that a row-major position names; any point of a shape without elements."""
    found: list[Index] = []
    for d, extent in reversed(list(enumerate(as_index(1) if extent == ZERO else extent for extent in shape))):
        found.insert(0, position % extent if d else position)
        position = position // extent
    return found


def replaced(ranks: Sequence[Index], dim: int, *new: Index | int) -> tuple[Index, ...]:
    """Ranks with the one at `dim` replaced by others (or by nothing)."""
    return (*ranks[:dim], *(as_index(i) for i in new), *ranks[dim + 1 :])


def wrapped(index: Scalar, extent: Index) -> Index:
    """An index value as an index, counted from the end if it is negative."""
    wide = index.to(i64)
    return select(wide < 0, wide + ordinal(extent), wide).as_index()


def vector(build: Builder, x: Array) -> Array:
    """A zero-dimensional array as one with one element; others as they are."""
    return x if x.rank else build.view(x, [as_index(1)], lambda i: [])


def unvector(build: Builder, x: Array, original: Array) -> Array:
    """Undo `vector`, given what it was called with."""
    return x if original.rank else build.view(x, (), lambda: [ZERO])


def flattened(build: Builder, x: Array) -> Array:
    """The elements of an array in row-major order."""
    return x if x.rank == 1 else build.view(x, [product(x.shape)], lambda i: unflat_position(i, x.shape))


def unflattened(build: Builder, x: Array, shape: Sequence[Index]) -> Array:
    """Undo `flattened`."""
    return x if len(shape) == 1 else build.view(x, shape, lambda *ranks: [flat_position(ranks, shape)])


def conjunction(conditions: Sequence[Scalar]) -> Scalar | None:
    """All of some conditions; None if there is none."""
    total: Scalar | None = None
    for condition in conditions:
        total = condition if total is None else total & condition
    return total
