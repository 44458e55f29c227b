"""Scatters: stores whose index is another tensor's element, and tensors with a part replaced by another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tcomp.ir.dtypes import DType, boolean, compute_dtype, i64
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ONE, ZERO, Index, as_index
from tcomp.lowerings.builder import Array, Builder, Operand, convert
from tcomp.lowerings.indexing import make_advanced
from tcomp.lowerings.positions import (
    conjunction,
    dimension,
    flat_position,
    flattened,
    replaced,
    static,
    unflattened,
    unvector,
    vector,
    wrapped,
    zero,
)
from tcomp.lowerings.scalars import Scalar, call, literal, maximum, ordinal, select
from tcomp.lowerings.scans import Carried, scan
from tcomp.lowerings.table import lowers

aten = torch.ops.aten

REDUCTIONS = {
    "sum": "sum",
    "add": "sum",
    "mean": "sum",
    "prod": "prod",
    "multiply": "prod",
    "amax": "max",
    "amin": "min",
}
"""PyTorch's names of reductions, and the monoid of each."""



def choose_monoid(reduce: str, dtype: DType) -> str:
    """The monoid of a reduction by PyTorch's name; bools are added as `or` and multiplied as `and`."""
    monoid = REDUCTIONS[reduce]
    return {"sum": "any", "prod": "all"}.get(monoid, monoid) if dtype == boolean else monoid


@dataclass(frozen=True, slots=True)
class Places:
    """Where the points of a domain go: `position` gives the slots of a point, `where` whether it goes anywhere."""

    domain: tuple[Index, ...]
    position: Callable[..., Sequence[Index]]
    where: Callable[..., Scalar] | None = None


def scatter_into(
    build: Builder, x: Array, places: Places, element: Callable[..., Scalar], monoid: str, *, hint: str = ""
) -> Array:
    """Fold elements into a copy of x: in the computing type where the fold rounds."""
    wide = compute_dtype(x.dtype) if monoid in ("sum", "prod") else x.dtype
    folded = build.scatter(
        x,
        x.shape,
        wide,
        places.domain,
        monoid,
        lambda *ranks: element(*ranks).to(wide),
        places.position,
        where=places.where,
        hint=hint,
    )
    return build.cast(folded, x.dtype)


@lowers(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(
    build: Builder, x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False
) -> Array:
    """Advanced indexing to store or add; negative indices count from the end, the last of several values stays."""
    if any(i is not None and i.dtype == boolean for i in indices):
        return _put_under_mask(build, x, indices, values, accumulate)
    advanced = make_advanced(x, indices)
    places = Places(advanced.shape, advanced.position)
    monoid = choose_monoid("sum", x.dtype) if accumulate else "last"
    return scatter_into(build, x, places, lambda *ranks: values.over(ranks, advanced.shape), monoid)


def _put_under_mask(
    build: Builder, x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool
) -> Array:
    """Store or add one value at all places under a mask: a choice. Values of which each place gets its own are refused."""
    first = next(d for d, i in enumerate(indices) if i is not None)
    mask = indices[first]
    assert mask is not None
    # The dimensions of the mask are one dimension of the values, which may not be there.
    own = -1 - (x.rank - mask.rank - first)
    is_shared = -own > values.rank or values.shape[own] == ONE
    if any(i is not None for i in indices[first + 1 :]) or not is_shared:
        raise Unsupported("storing values under a mask, which are as many as data says", help="use torch.where")

    def element(*ranks: Index) -> Scalar:
        point = (*ranks[:first], ZERO, *ranks[first + mask.rank :])
        shape = (*x.shape[:first], ONE, *x.shape[first + mask.rank :])
        value, old = values.over(point, shape).to(x.dtype), x.at(*ranks)
        if accumulate:
            value = old | value if x.dtype == boolean else old + value
        return select(mask.at(*ranks[first : first + mask.rank]), value, old)

    return build.map(x.shape, x.dtype, element)


@lowers(aten.put.default)
def put(build: Builder, x: Array, index: Array, source: Array, accumulate: bool = False) -> Array:
    """Store or add elements by their row-major position; negative positions count from the end."""
    flat = flattened(build, vector(build, x))
    values = source if source.shape == index.shape else unflattened(build, flattened(build, source), index.shape)
    places = Places(index.shape, lambda *ranks: [wrapped(index.at(*ranks), flat.shape[0])])
    monoid = choose_monoid("sum", x.dtype) if accumulate else "last"
    return unflattened(build, scatter_into(build, flat, places, values.at, monoid), x.shape)


@lowers(aten.scatter.src, aten.scatter.reduce)
def scatter_src(build: Builder, x: Array, dim: int, index: Array, src: Array, *, reduce: str | None = None) -> Array:
    """Store each element of src at its index, or fold it in."""
    monoid = "last" if reduce is None else choose_monoid(reduce, x.dtype)
    return _scatter(build, x, dim, index, src, monoid)


@lowers(aten.scatter.value, aten.scatter.value_reduce)
def scatter_value(
    build: Builder, x: Array, dim: int, index: Array, value: Index | float, *, reduce: str | None = None
) -> Array:
    """Store one number at every index, or fold it in."""
    monoid = "last" if reduce is None else choose_monoid(reduce, x.dtype)
    return _scatter(build, x, dim, index, value, monoid)


@lowers(aten.scatter_add.default)
def scatter_add(build: Builder, x: Array, dim: int, index: Array, src: Array) -> Array:
    """Add each element of src at its index."""
    return _scatter(build, x, dim, index, src, choose_monoid("sum", x.dtype))


@lowers(aten.scatter_reduce.two)
def scatter_reduce(
    build: Builder, x: Array, dim: int, index: Array, src: Array, reduce: str, *, include_self: bool = True
) -> Array:
    """Fold each element of src at its index; `include_self` says whether what was there takes part."""
    row, ids, values = vector(build, x), vector(build, index), vector(build, src)
    places = _row_places(row, dimension(dim, row.rank), ids)
    folded = _fold(build, row, places, lambda *ranks: values.at(*ranks, outside=zero(values.dtype)), reduce, include_self)
    return unvector(build, folded, x)


@lowers(aten.index_reduce.default)
def index_reduce(
    build: Builder, x: Array, dim: int, index: Array, source: Array, reduce: str, *, include_self: bool = True
) -> Array:
    """Fold each slice of source into the slice of x that a vector names."""
    row, ids, values = vector(build, x), vector(build, index), vector(build, source)
    d = dimension(dim, row.rank)
    places = Places(values.shape, lambda *ranks: replaced(ranks, d, ids.at(ranks[d]).as_index()))
    folded = _fold(build, row, places, values.at, reduce, include_self)
    return unvector(build, folded, x)


def _scatter(build: Builder, x: Array, dim: int, index: Array, src: Operand, monoid: str) -> Array:
    row, ids = vector(build, x), vector(build, index)
    source = vector(build, src) if isinstance(src, Array) else src
    places = _row_places(row, dimension(dim, row.rank), ids)

    def element(*ranks: Index) -> Scalar:
        if isinstance(source, Array):
            return source.at(*ranks, outside=zero(source.dtype))
        return convert(source, x.dtype, ranks, places.domain)

    stored = scatter_into(build, row, places, element, monoid)
    return unvector(build, stored, x)


def _row_places(x: Array, d: int, index: Array) -> Places:
    """Each element of index names the place of its own row along dimension d; index may have fewer rows than x."""
    domain = tuple(extent if k == d else x.shape[k] for k, extent in enumerate(index.shape))
    short = [k for k in range(x.rank) if k != d and index.shape[k] != x.shape[k]]

    def position(*ranks: Index) -> Sequence[Index]:
        return replaced(ranks, d, index.at(*ranks, outside=0 if short else None).as_index())

    def has_index(*ranks: Index) -> Scalar:
        found = conjunction([ordinal(ranks[k]) < ordinal(index.shape[k]) for k in short])
        assert found is not None
        return found

    return Places(domain, position, has_index if short else None)


def _fold(
    build: Builder, x: Array, places: Places, element: Callable[..., Scalar], reduce: str, include_self: bool
) -> Array:
    """Fold elements into x; without `include_self`, the places that get any forget what they held."""
    monoid = choose_monoid(reduce, x.dtype)
    if include_self and reduce != "mean":
        return scatter_into(build, x, places, element, monoid)
    wide = compute_dtype(x.dtype)
    count = build.scatter(
        None,
        x.shape,
        i64,
        places.domain,
        "sum",
        lambda *ranks: literal(1, i64),
        places.position,
        where=places.where,
        hint="count",
    )
    folded = build.scatter(
        x if include_self else None,
        x.shape,
        wide,
        places.domain,
        monoid,
        lambda *ranks: element(*ranks).to(wide),
        places.position,
        where=places.where,
        hint="folded",
    )

    def result(*ranks: Index) -> Scalar:
        number, value = count.at(*ranks), folded.at(*ranks)
        if reduce == "mean":
            parts = (number + 1 if include_self else maximum(number, 1)).to(wide)
            value = call("div" if wide.is_float else "floordiv", value, parts)
        return value.to(x.dtype) if include_self else select(number > 0, value.to(x.dtype), x.at(*ranks))

    return build.map(x.shape, x.dtype, result)


@lowers(aten.select_scatter.default)
def select_scatter(build: Builder, x: Array, src: Array, dim: int, index: Index | int) -> Array:
    """Replace one slice of a dimension."""
    d = dimension(dim, x.rank)
    place = index + x.shape[d] if isinstance(index, int) and index < 0 else as_index(index)

    def element(*ranks: Index) -> Scalar:
        return select(ordinal(ranks[d]).equals(ordinal(place)), src.at(*replaced(ranks, d)).to(x.dtype), x.at(*ranks))

    return build.map(x.shape, x.dtype, element)


@lowers(aten.slice_scatter.default)
def slice_scatter(
    build: Builder,
    x: Array,
    src: Array,
    dim: int = 0,
    start: Index | int | None = None,
    end: Index | int | None = None,
    step: Index | int = 1,
) -> Array:
    """Replace a range of a dimension."""
    d = dimension(dim, x.rank)
    first = _bound(start, x.shape[d])

    def element(*ranks: Index) -> Scalar:
        offset = ranks[d] - first
        number = offset // step
        is_inside = (ordinal(offset) >= 0) & (ordinal(number) < ordinal(src.shape[d]))
        if step != 1:
            is_inside = is_inside & ordinal(offset % step).equals(0)
        part = src.at(*replaced(ranks, d, number), outside=zero(src.dtype)).to(x.dtype)
        return select(is_inside, part, x.at(*ranks))

    return build.map(x.shape, x.dtype, element)


def _bound(start: Index | int | None, extent: Index) -> Index:
    """The first place of a slice, within a dimension."""
    if start is None:
        return as_index(0)
    if isinstance(start, Index) and not start.is_constant:
        return start
    value = static(start, "the start of a slice")
    if not extent.is_constant:
        return extent + value if value < 0 else as_index(value)
    return as_index(min(max(value + extent.constant if value < 0 else value, 0), extent.constant))


@lowers(aten.diagonal_scatter.default)
def diagonal_scatter(build: Builder, x: Array, src: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """Replace a diagonal of two dimensions."""
    rows, columns = dimension(dim1, x.rank), dimension(dim2, x.rank)
    others = [d for d in range(x.rank) if d not in (rows, columns)]

    def element(*ranks: Index) -> Scalar:
        place = ranks[rows] + offset if offset < 0 else ranks[rows]
        part = src.at(*(ranks[d] for d in others), place, outside=zero(src.dtype)).to(x.dtype)
        return select(ordinal(ranks[columns] - ranks[rows]).equals(offset), part, x.at(*ranks))

    return build.map(x.shape, x.dtype, element)


@lowers(aten.as_strided_scatter.default)
def as_strided_scatter(
    build: Builder,
    x: Array,
    src: Array,
    size: Sequence[Index | int],
    stride: Sequence[Index | int],
    storage_offset: Index | int | None = None,
) -> Array:
    """Replace the elements that strides over the storage of a contiguous tensor name."""
    if not _is_contiguous(build):
        raise Unsupported("as_strided_scatter into a tensor that is not contiguous", help="call contiguous() first")
    flat = flattened(build, vector(build, x))
    if src.rank == 1 and as_index(stride[0]) == ONE:
        # A run of consecutive elements is a slice.
        return unflattened(build, slice_scatter(build, flat, src, 0, storage_offset), x.shape)

    def position(*ranks: Index) -> Sequence[Index]:
        total = as_index(storage_offset or 0)
        for rank, step in zip(ranks, stride):
            total = total + rank * step
        return [total]

    stored = scatter_into(build, flat, Places(src.shape, position), src.at, "last")
    return unflattened(build, stored, x.shape)


def _is_contiguous(build: Builder) -> bool:
    assert build.node is not None
    base: Any = build.node.args[0]
    value = base.meta["val"]
    return bool(value.is_contiguous()) and value.storage_offset() == 0


@lowers(aten.masked_scatter.default)
def masked_scatter(build: Builder, x: Array, mask: Array, source: Array) -> Array:
    """Replace the elements under a mask by those of source, in row-major order."""
    under = build.map(build.shape, boolean, lambda *ranks: mask.over(ranks, build.shape), hint="mask")
    flat = flattened(build, vector(build, under))

    def count(states: Sequence[Scalar], element: Scalar, _: Index) -> Scalar:
        return states[0] + element.to(i64)

    (counts,) = scan(build, flat, 0, [Carried("count", literal(0, i64), count)], [i64])
    elements = flattened(build, vector(build, source))

    def element(*ranks: Index) -> Scalar:
        number = counts.at(flat_position(ranks, build.shape)).as_index() - 1
        given = elements.at(number, outside=zero(elements.dtype)).to(x.dtype)
        return select(under.at(*ranks), given, x.over(ranks, build.shape))

    return build.map(build.shape, build.dtype, element)
