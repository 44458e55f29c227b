"""Bags of embeddings: rows of a table summed over runs of indices that begin at given offsets."""

from __future__ import annotations

import torch

from tcomp.ir.dtypes import compute_dtype, i64
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.positions import Point
from tcomp.lowerings.scalars import Scalar, literal, maximum, ordinal
from tcomp.lowerings.table import lowers

aten = torch.ops.aten

SUM, MEAN, MAX = range(3)


@lowers(aten._embedding_bag.default, aten._embedding_bag_forward_only.default)
def embedding_bag(
    build: Builder,
    weight: Array,
    indices: Array,
    offsets: Array,
    scale_grad_by_freq: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    per_sample_weights: Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Array, ...]:
    """Sum or mean of each bag's rows, and for the gradient the bag of each index and the size of each bag.

    What PyTorch leaves uninitialised (the largest indices of a sum, sizes that no gradient needs) holds bag sizes here.
    """
    if mode == MAX:
        raise Unsupported("embedding_bag with mode='max'", help="use mode='sum' or 'mean', or embedding and amax")
    wide = compute_dtype(weight.dtype)
    count, bags = indices.shape[0], build.shape[:1]

    def has_begun(free: Point, folded: Point) -> Scalar:
        return (offsets.at(*folded).to(i64) <= ordinal(free[0])).to(i64)

    begun = build.reduce("sum", [count], [offsets.shape[0]], i64, has_begun, hint="begun")

    def bag(i: Index) -> Index:
        return begun.at(i).as_index() - 1

    def counts(i: Index, *_: Index) -> Scalar:
        return indices.at(i).differs(padding_idx)

    def row(i: Index, d: Index) -> Scalar:
        value = weight.at(indices.at(i).as_index(), d).to(wide)
        return value if per_sample_weights is None else value * per_sample_weights.at(i).to(wide)

    where = counts if padding_idx >= 0 else None
    sums = build.scatter(
        None, build.shape, wide, [count, weight.shape[1]], "sum", row, lambda i, d: [bag(i), d], where=where, hint="sum"
    )
    sizes = build.scatter(
        None, bags, i64, [count], "sum", lambda i: literal(1, i64), lambda i: [bag(i)], where=where, hint="sizes"
    )

    def mean(b: Index, d: Index) -> Scalar:
        return sums.at(b, d) / maximum(sizes.at(b), 1).to(wide)

    out = build.map(build.shape, build.dtype, mean) if mode == MEAN else build.cast(sums, build.dtype)
    return out, *(_auxiliary(build, number, begun, sizes) for number in (1, 2, 3))


def _auxiliary(build: Builder, number: int, begun: Array, sizes: Array) -> Array:
    """The bag of each index (result 1, which may be empty) or the bag sizes, in the shape that the result has."""
    result = build.results[number]
    assert result is not None
    if number == 1:
        return build.map(result.shape, result.dtype, lambda i: begun.at(i) - 1, hint="bags")
    return build.map(result.shape, result.dtype, lambda b: sizes.at(b, outside=0), hint="counts")
