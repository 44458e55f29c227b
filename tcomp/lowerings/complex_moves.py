"""Complex tensors moved, made, joined, summed and taken apart: what treats real and imaginary parts alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tcomp.ir.dtypes import boolean
from tcomp.lowerings.builder import Array, Builder
from tcomp.lowerings.pairs import (
    PAIR_RANK,
    Pairs,
    Value,
    as_pairs,
    emit,
    is_nonzero,
    join,
    lower_each_part,
    lowers_pairs,
    paired,
    parts_of,
)
from tcomp.lowerings.scalars import literal, ordinal
from tcomp.lowerings.table import LOWERINGS, Lowering

aten = torch.ops.aten

# Views.
lower_each_part(
    ("self",),
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten._reshape_alias.default,
    aten.view_copy.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.squeeze_copy.default,
    aten.squeeze_copy.dim,
    aten.squeeze_copy.dims,
    aten.unsqueeze.default,
    aten.unsqueeze_copy.default,
    aten.permute.default,
    aten.permute_copy.default,
    aten.transpose.int,
    aten.transpose_copy.int,
    aten.t.default,
    aten.t_copy.default,
    aten.movedim.int,
    aten.expand.default,
    aten.expand_copy.default,
    aten.repeat.default,
    aten.slice.Tensor,
    aten.slice_copy.Tensor,
    aten.narrow.default,
    aten.select.int,
    aten.select_copy.int,
    aten.unbind.int,
    aten.split.Tensor,
    aten.split_copy.Tensor,
    aten.split_with_sizes.default,
    aten.split_with_sizes_copy.default,
    aten.unsafe_split.Tensor,
    aten.unsafe_split_with_sizes.default,
    aten.chunk.default,
    aten.unsafe_chunk.default,
    aten.unfold.default,
    aten.unfold_copy.default,
    aten.diagonal.default,
    aten.diagonal_copy.default,
    aten.as_strided.default,
    aten.as_strided_copy.default,
    aten.flip.default,
    aten.roll.default,
    aten.tril.default,
    aten.triu.default,
    aten.reflection_pad1d.default,
    aten.reflection_pad2d.default,
    aten.reflection_pad3d.default,
    aten.replication_pad1d.default,
    aten.replication_pad2d.default,
    aten.replication_pad3d.default,
)
lower_each_part(("tensors",), aten.cat.default, aten.concatenate.default, aten.stack.default)

# Elements chosen by index, and put where an index says.
lower_each_part(
    ("self",), aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_select.default, aten.gather.default, aten.take.default
)
lower_each_part(("weight",), aten.embedding.default)
lower_each_part(("self", "values"), aten.index_put.default, aten._unsafe_index_put.default)
lower_each_part(("self", "source"), aten.put.default, aten.masked_scatter.default)
lower_each_part(
    ("self", "src"),
    aten.scatter.src,
    aten.scatter_add.default,
    aten.select_scatter.default,
    aten.slice_scatter.default,
    aten.diagonal_scatter.default,
    aten.as_strided_scatter.default,
)
lower_each_part(("self", "other"), aten.where.self, aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther)
lower_each_part(("self", "value"), aten.masked_fill.Scalar, aten.masked_fill.Tensor)

# Made from nothing, and sums.
lower_each_part(
    (),
    aten.zeros.default,
    aten.zeros_like.default,
    aten.new_zeros.default,
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.empty_strided.default,
    aten.empty_permuted.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
)
lower_each_part(("fill_value",), aten.full.default, aten.full_like.default, aten.new_full.default)
lower_each_part(("s",), aten.scalar_tensor.default)
lower_each_part(("value",), aten.fill.Scalar, aten.fill.Tensor)
lower_each_part(("self",), aten.sum.default, aten.sum.dim_IntList, aten.mean.default, aten.mean.dim)


@lowers_pairs(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def ones(build: Builder, *_: object, **__: object) -> Array:
    """Ones, without imaginary parts."""
    return fill_with(build, 1)


def fill_with(build: Builder, value: Value) -> Array:
    """Emit the node's result filled with one value."""
    return emit(build, build.shape, lambda *ranks: parts_of(value, build.dtype, ranks, build.shape))


@lowers_pairs(aten.eye.default, aten.eye.m)
def eye(build: Builder, *_: object, **__: object) -> Array:
    """Ones on the diagonal."""
    return emit(build, build.shape, lambda i, j: (ordinal(i).equals(ordinal(j)), literal(False, boolean)))


@lowers_pairs(
    aten.clone.default,
    aten.alias.default,
    aten.alias_copy.default,
    aten.detach.default,
    aten.lift_fresh.default,
    aten.lift_fresh_copy.default,
    aten.contiguous.default,
    aten._to_copy.default,
    torch.ops.prims.convert_element_type.default,
)
def copy(build: Builder, x: Array, *_: object, **__: object) -> Array:
    """The same elements, converted to the type of the result: real types take the real part, bool whether it is not zero."""
    if not _is_complex_result(build):
        return is_nonzero(build, x) if build.dtype == boolean else build.map(build.shape, build.dtype, _real(x).at)
    return fill_with(build, x)


@lowers_pairs(aten.copy.default)
def copy_into(build: Builder, _: Array, source: Array, non_blocking: bool = False) -> Array:
    """The elements of `source`, broadcast and converted to the tensor it replaces."""
    if not _is_complex_result(build):
        real = is_nonzero(build, source) if build.dtype == boolean else _real(source)
        return build.map(build.shape, build.dtype, lambda *ranks: real.over(ranks, build.shape))
    return fill_with(build, source)


def _is_complex_result(build: Builder) -> bool:
    return build.results[0] is not None and build.results[0].is_complex


def _real(x: Array) -> Array:
    return x.real if isinstance(x, Pairs) else x


@lowers_pairs(aten.view_as_real.default, aten.view_as_real_copy.default)
def view_as_real(build: Builder, x: Pairs) -> Array:
    """The pair rank as a dimension."""
    return build.map(build.shape, build.dtype, lambda *ranks: x.take(ranks[-1]).at(*ranks[:-1]))


@lowers_pairs(aten.view_as_complex.default, aten.view_as_complex_copy.default)
def view_as_complex(build: Builder, x: Array) -> Array:
    """The last dimension, which is of two elements, as the pair rank."""
    return paired(build).map(build.shape, build.dtype, lambda *ranks: x.at(*ranks, PAIR_RANK))


@lowers_pairs(aten.real.default)
def real(build: Builder, x: Pairs) -> Array:
    """Real parts."""
    return build.map(build.shape, build.dtype, x.real.at)


@lowers_pairs(aten.imag.default)
def imag(build: Builder, x: Pairs) -> Array:
    """Imaginary parts."""
    return build.map(build.shape, build.dtype, x.imaginary.at)


@lowers_pairs(aten.complex.default)
def complex_(build: Builder, real: Array, imaginary: Array) -> Array:
    """Complex numbers of real and imaginary parts."""
    return emit(build, build.shape, lambda *ranks: (real.over(ranks, build.shape), imaginary.over(ranks, build.shape)))


@lowers_pairs(aten.constant_pad_nd.default)
def constant_pad_nd(build: Builder, x: Pairs, pad: Any, value: complex = 0) -> Array:
    """Elements put before and after the last dimensions."""
    number = complex(value)
    pad_part = LOWERINGS[aten.constant_pad_nd.default]
    return join(pad_part(build, x.real, pad, number.real), pad_part(build, x.imaginary, pad, number.imag))


@lowers_pairs(aten.cumsum.default)
def cumsum(build: Builder, x: Array, dim: int, *, dtype: object = None) -> Array:
    """Running sums."""
    sum_part = LOWERINGS[aten.cumsum.default]
    pairs = as_pairs(build, x)
    return join(sum_part(build, pairs.real, dim), sum_part(build, pairs.imaginary, dim))


def _make_of_nonzero(lowering: Lowering) -> Lowering:
    def lower(build: Builder, x: Array, *arguments: Any, **keywords: Any) -> Any:
        return lowering(build, is_nonzero(build, x), *arguments, **keywords)

    return lower


for _operator in (
    aten.any.default,
    aten.any.dim,
    aten.any.dims,
    aten.all.default,
    aten.all.dim,
    aten.all.dims,
    aten.count_nonzero.default,
    aten.count_nonzero.dim_IntList,
    aten.logical_not.default,
):
    lowers_pairs(_operator)(_make_of_nonzero(LOWERINGS[_operator]))


def _make_logical(lowering: Callable[..., Any]) -> Lowering:
    def lower(build: Builder, a: Array, b: Array) -> Any:
        return lowering(build, is_nonzero(build, a), is_nonzero(build, b))

    return lower


for _operator in (aten.logical_and.default, aten.logical_or.default, aten.logical_xor.default):
    lowers_pairs(_operator)(_make_logical(LOWERINGS[_operator]))
