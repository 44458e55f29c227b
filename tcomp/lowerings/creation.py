"""Tensors made from nothing, copies, and triangles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tcomp.ir.dtypes import boolean, compute_dtype, f64
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index, as_index
from tcomp.lowerings.builder import Array, Builder, Operand, convert
from tcomp.lowerings.scalars import Scalar, literal, ordinal, select
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


def fill_with(build: Builder, value: Operand) -> Array:
    """Emit the node's result filled with one value."""
    return build.map(build.shape, build.dtype, lambda *ranks: convert(value, build.dtype, ranks, build.shape))


@lowers(aten.full.default, aten.full_like.default, aten.new_full.default)
def full(build: Builder, *arguments: Any, **_: object) -> Array:
    """Filled with a value, the last argument after size or tensor."""
    return fill_with(build, arguments[-1])


@lowers(
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
def zeros(build: Builder, *_: object, **__: object) -> Array:
    """Zeros; what eager leaves uninitialised is zero too."""
    return fill_with(build, 0)


@lowers(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def ones(build: Builder, *_: object, **__: object) -> Array:
    """Ones."""
    return fill_with(build, 1)


@lowers(aten.scalar_tensor.default)
def scalar_tensor(build: Builder, value: Operand, **_: object) -> Array:
    """A number as a tensor without dimensions."""
    return fill_with(build, value)


@lowers(aten.fill.Scalar, aten.fill.Tensor)
def fill(build: Builder, _: Array, value: Operand) -> Array:
    """Filled with a value, in the type of the tensor it replaces."""
    return fill_with(build, value)


@lowers(
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
    """The same elements, converted to the type of the result."""
    return build.map(build.shape, build.dtype, lambda *ranks: x.at(*ranks))


@lowers(aten.copy.default)
def copy_into(build: Builder, _: Array, source: Array, non_blocking: bool = False) -> Array:
    """The elements of `source`, broadcast and converted to the tensor it replaces."""
    return fill_with(build, source)


@lowers(aten.arange.start_step)
def arange(build: Builder, start: Any, end: Any, step: Any = 1, **_: object) -> Array:
    """From start in steps; floats are computed in f64, and for a result of integers cut to integers first, as torch does."""
    if build.dtype.is_int:
        start, step = (int(bound) if isinstance(bound, float) else bound for bound in (start, step))
    if all(isinstance(bound, (int, Index)) for bound in (start, step)):
        return build.map(build.shape, build.dtype, lambda i: ordinal(as_index(start) + i * as_index(step)))
    if isinstance(start, Index) or isinstance(step, Index):
        raise Unsupported("arange with a symbolic bound and a fractional one", help="pass integers or floats throughout")
    first, stride = literal(float(start), f64), float(step)
    return build.map(build.shape, build.dtype, lambda i: first + ordinal(i).to(f64) * stride)


@lowers(aten.arange.start)
def arange_start(build: Builder, start: Any, end: Any, **_: object) -> Array:
    """From start, one by one."""
    return arange(build, start, end)


@lowers(aten.arange.default)
def arange_end(build: Builder, end: Any, **_: object) -> Array:
    """From 0, one by one."""
    return arange(build, 0, end)


@lowers(aten.linspace.default)
def linspace(build: Builder, start: float, end: float, steps: int, **_: object) -> Array:
    """Evenly spaced from start to end, each half computed from its own end, as torch does.

    Integers are computed in f64 from truncated ends, and truncated.
    """
    dtype = compute_dtype(build.dtype) if build.dtype.is_float else f64
    if build.dtype.is_int:
        start, end = int(start), int(end)
    stride = (float(end) - float(start)) / (steps - 1) if steps > 1 else 0.0

    def element(i: Index) -> Scalar:
        from_start = literal(float(start), dtype) + ordinal(i).to(dtype) * stride
        from_end = literal(float(end), dtype) - ordinal(steps - 1 - i).to(dtype) * stride
        return select(ordinal(i) < steps // 2, from_start, from_end) if steps > 1 else from_start

    return build.map(build.shape, build.dtype, element)


@lowers(aten.eye.default, aten.eye.m)
def eye(build: Builder, *_: object, **__: object) -> Array:
    """Ones on the diagonal."""
    return build.map(build.shape, build.dtype, lambda i, j: ordinal(i).equals(ordinal(j)))


@lowers(aten.tril.default)
def tril(build: Builder, x: Array, diagonal: int = 0) -> Array:
    """The lower triangle, up to a diagonal; zeros above."""
    return _triangle(build, x, lambda i, j: ordinal(j) <= ordinal(i + diagonal))


@lowers(aten.triu.default)
def triu(build: Builder, x: Array, diagonal: int = 0) -> Array:
    """The upper triangle, from a diagonal; zeros below."""
    return _triangle(build, x, lambda i, j: ordinal(j) >= ordinal(i + diagonal))


def _triangle(build: Builder, x: Array, inside: Callable[[Index, Index], Scalar]) -> Array:
    dtype = compute_dtype(x.dtype)

    def element(*ranks: Index) -> Scalar:
        return select(inside(ranks[-2], ranks[-1]), x.at(*ranks).to(dtype), 0)

    return build.map(x.shape, x.dtype, element)


@lowers(aten.native_dropout.default)
def native_dropout(build: Builder, x: Array, p: float, train: bool | None) -> tuple[Array, Array]:
    """Dropout that drops nothing: the elements themselves, and a mask of all."""
    if train is not False and p != 0:
        raise Unsupported("dropout in training draws random numbers", help="eager runs it, drawing what eager would draw")
    mask = build.map(x.shape, boolean, lambda *_: literal(True, boolean), hint="mask")
    return build.map(x.shape, x.dtype, lambda *ranks: x.at(*ranks)), mask
