"""Operators that refuse some data in eager: the same conditions, as assertions that the runtime looks at when all is computed.

    remainder(a, b)  =>  _assert_async(all(b != 0), "ZeroDivisionError: ..."); remainder(a, b)

Indices that are data need none of this: kernels check them where they read and write. On a GPU eager divides integers by zero
without a word, and so do kernels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.experimental.symbolic_shapes import guard_or_false

aten = torch.ops.aten

Decomposition = Callable[..., Any]


def require(condition: Tensor, what: str) -> None:
    """Record that all elements of a tensor of bools are to be true."""
    aten._assert_async.msg(aten.all.default(condition), what)


def _check_division(a: Tensor | float, b: Tensor | float, **_: Any) -> Any:
    """Require divisors of integers that are not 0; what divides is kept."""
    tensors = [x for x in (a, b) if isinstance(x, Tensor)]
    if not tensors:
        # Dynamo leaves torch.div of two numbers in its graphs.
        return NotImplemented
    dtype, device = torch.result_type(a, b), tensors[0].device
    if dtype.is_floating_point or dtype.is_complex or device.type != "cpu" or any(_is_empty(x) for x in tensors):
        return NotImplemented
    if isinstance(b, Tensor):
        require(aten.ne.Scalar(b, 0), _ZERO)
    elif isinstance(b, (int, torch.SymInt)) and guard_or_false(b == 0):
        require(aten.full.default([], False, dtype=torch.bool, device=device), _ZERO)
    return NotImplemented


def _is_empty(x: Tensor) -> bool:
    count: Any = x.numel()
    return isinstance(count, int) and count == 0


_ZERO = "ZeroDivisionError: an integer is divided by zero"


def _divide(a: Tensor, b: Tensor | float, *, rounding_mode: str | None = None) -> Any:
    return NotImplemented if rounding_mode is None else _check_division(a, b)


def _binary_cross_entropy(base: Decomposition, x: Tensor, target: Tensor, *rest: Any, **named: Any) -> Any:
    if x.device.type == "cpu":
        for name, values in (("input", x), ("target", target)):
            inside = aten.logical_and.default(aten.ge.Scalar(values, 0), aten.le.Scalar(values, 1))
            require(inside, f"all elements of {name} should be between 0 and 1")
    return base(x, target, *rest, **named)


_broadcast: Any = torch.broadcast_shapes


def _masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Any:
    if x.device.type == "cpu":
        count = aten.sum.default(aten.expand.default(mask, _broadcast(x.shape, mask.shape)))
        require(aten.le.Scalar(count, source.numel()), "masked_scatter: the source has fewer elements than the mask has ones")
    return NotImplemented


def _rows(x: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """A vector of indices into one dimension as one for each element of the source, both with a dimension if x has none."""
    if not x.dim():
        return aten.reshape.default(index, [-1]), aten.reshape.default(source, [-1])
    shape = [1] * x.dim()
    shape[dim] = -1
    return aten.expand.default(aten.reshape.default(index, shape), source.shape), source


def _index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Any:
    """A sum at indices that, unlike those of index_put, do not count from the end."""
    if index.dtype != torch.int64:
        index = aten._to_copy.default(index, dtype=torch.int64)
    rows, values = _rows(x, dim, index, source)
    if alpha != 1:
        values = aten.mul.Tensor(values, alpha)
    if x.dim():
        return aten.scatter_add.default(x, dim, rows, values)
    return aten.reshape.default(aten.scatter_add.default(aten.reshape.default(x, [1]), 0, rows, values), [])


def _index_copy(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Any:
    """Stores at indices that, unlike those of index_put, do not count from the end."""
    rows, values = _rows(x, dim, index, source)
    if x.dim():
        return aten.scatter.src(x, dim, rows, values)
    return aten.reshape.default(aten.scatter.src(aten.reshape.default(x, [1]), 0, rows, values), [])


def _index_fill(x: Tensor, dim: int, index: Tensor, value: Tensor | float) -> Any:
    """One value at indices that, unlike those of index_copy, count from the end where they are negative."""
    if not isinstance(value, Tensor):
        value = aten.full.default([], value, dtype=x.dtype, layout=torch.strided, device=x.device, pin_memory=False)
    elif value.dtype != x.dtype:
        value = aten._to_copy.default(value, dtype=x.dtype)
    rows = aten.reshape.default(index, [-1])
    if x.dim():
        return aten.index_put.default(x, [None] * (dim % x.dim()) + [rows], value)
    return aten.reshape.default(aten.index_put.default(aten.reshape.default(x, [1]), [rows], value), [])


def _assert(condition: Tensor) -> None:
    # PyTorch takes the one with a message for what it is: it is not removed although nobody reads its result.
    aten._assert_async.msg(condition, "Expected Tensor with single nonzero value, but got zero")


def checked(base: Mapping[OpOverload, Decomposition]) -> dict[OpOverload, Decomposition]:
    """The operators that check data, over the decompositions that they would have without."""
    return {
        aten.div.Tensor_mode: _divide,
        aten.div.Scalar_mode: _divide,
        aten.remainder.Tensor: _check_division,
        aten.remainder.Scalar: _check_division,
        aten.remainder.Scalar_Tensor: _check_division,
        aten.fmod.Tensor: _check_division,
        aten.fmod.Scalar: _check_division,
        aten.binary_cross_entropy.default: functools.partial(_binary_cross_entropy, base[aten.binary_cross_entropy.default]),
        aten.masked_scatter.default: _masked_scatter,
        aten.index_add.default: _index_add,
        aten.index_copy.default: _index_copy,
        aten.index_fill.int_Scalar: _index_fill,
        aten.index_fill.int_Tensor: _index_fill,
        aten._assert_async.default: _assert,
    }
