"""The table of lowerings: for each ATen operator, the function that writes it as einsums.

    @lowers(aten.silu.default)
    def silu(build: Builder, x: Array) -> Array: ...

A lowering is called with a builder for its node, then the node's own arguments: tensors as `Array`, symbolic integers as `Index`,
everything else as it stands in the graph. It returns an `Array`, or a tuple (or list) of them, None where the operator's result
is undefined. It raises `Unsupported` for arguments it does not serve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch._ops import OpOverload

Lowering = Callable[..., Any]
Function = TypeVar("Function", bound=Lowering)

LOWERINGS: dict[OpOverload, Lowering] = {}


def lowers(*operators: OpOverload) -> Callable[[Function], Function]:
    """Enter the decorated function into the table as the lowering of these operators."""

    def enter(function: Function) -> Function:
        for operator in operators:
            assert operator not in LOWERINGS, f"{operator} has two lowerings"
            LOWERINGS[operator] = function
        return function

    return enter
