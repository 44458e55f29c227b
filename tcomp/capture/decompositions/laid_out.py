"""Operators whose results lie in memory otherwise than PyTorch's rules for shapes and its decompositions say: as in eager, here.

    masked_fill(x.T, mask, 0.0)  =>  clone(where(mask, 0.0, x.T), contiguous)

It can be seen: by `stride()`, and by which views of a result there are. Results of symbolic sizes stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._prims_common import suggest_memory_format

aten = torch.ops.aten

Decomposition = Callable[..., Any]
Rule = Callable[..., Sequence[int] | None]
"""The order of a result's dimensions in memory, the slowest first, from the operator's arguments; None if it is not known better."""


def _is_in_order(result: Tensor, *_: Any) -> Sequence[int]:
    """New memory, in the order of the dimensions."""
    return range(result.dim())


def _is_as_suggested(result: Tensor, x: Tensor, *_: Any) -> Sequence[int]:
    """New memory, channels last where they are in the input, and else in the order of the dimensions."""
    order = range(result.dim())
    return order if suggest_memory_format(x) == torch.contiguous_format else (0, *order[2:], 1)


def _is_of_iterator(result: Tensor, *args: Any) -> Sequence[int]:
    """As TensorIterator lays out the result of operators that take their arguments element by element.

    Dimensions are sorted by the strides of the first argument that tells them apart, where a dimension that is broadcast tells nothing
    (PyTorch, aten/src/ATen/TensorIterator.cpp: reorder_dimensions).
    """
    operands = [arg for arg in args if isinstance(arg, Tensor)]
    shape, rank = tuple(result.shape), result.dim()
    if all(tuple(x.shape) == shape and x.is_contiguous() for x in operands):
        return range(rank)
    strides: list[list[int]] = []
    for x in operands:
        new = rank - x.dim()
        steps = [0 if size == 1 and shape[new + dim] != 1 else step for dim, (size, step) in enumerate(zip(x.shape, x.stride()))]
        strides.append([0] * new + steps)

    def compare(a: int, b: int) -> int:
        for steps in strides:
            if not steps[a] or not steps[b]:
                continue
            if steps[a] != steps[b]:
                return -1 if steps[a] < steps[b] else 1
            if shape[a] > shape[b]:
                return 1
        return 0

    order = list(reversed(range(rank)))
    # Not all pairs can be compared, so the way of sorting matters.
    for i in range(1, rank):
        place = i
        for j in range(i - 1, -1, -1):
            found = compare(order[j], order[place])
            if found > 0:
                order[j], order[place] = order[place], order[j]
                place = j
            elif found < 0:
                break
    return tuple(reversed(order))


_RULES: Sequence[tuple[Rule, Iterable[OpOverload]]] = (
    (
        _is_in_order,
        (
            *(aten.baddbmm.default, aten.masked_fill.Scalar, aten.masked_fill.Tensor, aten._unsafe_masked_index.default),
            *(aten.normal.Tensor_Tensor, aten.normal.Tensor_float, aten.normal.float_Tensor),
            *(aten.upsample_nearest1d.default, aten.upsample_nearest1d.vec),
            *(aten._upsample_nearest_exact1d.default, aten._upsample_nearest_exact1d.vec),
        ),
    ),
    (
        _is_as_suggested,
        (
            *(aten._native_batch_norm_legit.default, aten._native_batch_norm_legit_no_training.default),
            *(aten._native_batch_norm_legit.no_stats, aten._native_batch_norm_legit_functional.default),
            *(aten.max_unpool2d.default, aten.native_channel_shuffle.default, aten.channel_shuffle.default),
        ),
    ),
    (
        _is_of_iterator,
        (
            *(aten.logaddexp.default, aten.heaviside.default, aten.copysign.Tensor, aten.native_dropout_backward.default),
            *(aten.logical_and.default, aten.logical_or.default, aten.logical_xor.default, aten.pow.Scalar),
            *(aten.div.Tensor_mode, aten.floor_divide.default),
        ),
    ),
)

LAID_OUT = frozenset(op for _, operators in _RULES for op in operators)


def laid_out(base: Mapping[OpOverload, Decomposition]) -> dict[OpOverload, Decomposition]:
    """The operators whose results are laid out anew, over the decompositions that they would have without, if any."""
    return {op: _lay_out(op, rule, base.get(op)) for rule, operators in _RULES for op in operators}


def _lay_out(op: OpOverload, rule: Rule, base: Decomposition | None) -> Decomposition:
    def decompose(*args: Any, **kwargs: Any) -> Any:
        if op in _WITHIN.get():
            return NotImplemented
        made = NotImplemented if base is None else base(*args, **kwargs)
        if made is NotImplemented:
            with _within(op):
                made = op(*args, **kwargs)
        first, *rest = made if isinstance(made, (tuple, list)) else (made,)
        first = _place(first, rule(first, *args) if is_static(first) else None)
        return (first, *rest) if isinstance(made, (tuple, list)) else first

    return decompose


_WITHIN: ContextVar[frozenset[OpOverload]] = ContextVar("_WITHIN", default=frozenset())
"""Operators that are being laid out: what they call is the operator itself."""


@contextlib.contextmanager
def _within(op: OpOverload) -> Iterator[None]:
    token = _WITHIN.set(_WITHIN.get() | {op})
    try:
        yield
    finally:
        _WITHIN.reset(token)


def is_static(x: Tensor) -> bool:
    """Whether no size or stride of a tensor is a symbol, so that rules say where its elements lie."""
    return all(type(size) is int for size in (*x.shape, *x.stride()))


def _place(x: Tensor, order: Sequence[int] | None) -> Tensor:
    """The same elements with dimensions in this order in memory, the slowest first."""
    if order is None or x.numel() == 0:
        return x
    expected: dict[int, int] = {}
    step = 1
    for dim in reversed(order):
        expected[dim] = step
        step *= x.shape[dim]
    if all(x.stride(dim) == expected[dim] for dim in order if x.shape[dim] != 1):
        return x
    back = [list(order).index(dim) for dim in range(x.dim())]
    made: Tensor = aten.clone.default(aten.permute.default(x, list(order)), memory_format=torch.contiguous_format)
    return made.permute(back)
