"""A quick way to tell tensors of one kind: their classes, element types, devices, shapes and strides, in one call for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch._C._dynamo.guards import TensorGuards


def make_guards(tensors: Sequence[Tensor]) -> Callable[..., bool]:
    """A function of as many tensors that tells whether they are like these.

    It may say that they are not although only the modes are others that this thread is in (inference, gradients).
    """
    sizes: Any = [list(tensor.shape) for tensor in tensors]  # what the stubs say is of an older form
    strides: Any = [list(tensor.stride()) for tensor in tensors]
    return TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check


def _nothing_to_tell() -> bool:
    return True


class Layouts:
    """The element types, shapes and strides of tensors, which in-place operations (`t_`, `resize_`, `p.data = ...`) may change."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._found = self._describe()
        self._check: Callable[..., bool] = make_guards(tensors) if tensors else _nothing_to_tell

    def hold(self) -> bool:
        """Whether they are as they were."""
        if self._check(*self._tensors):
            return True
        if self._describe() != self._found:
            return False
        self._check = make_guards(self._tensors)
        return True

    def _describe(self) -> list[object]:
        return [(tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in self._tensors]
