"""The table of lowerings: for each ATen operator, the function that writes it as einsums.

    @lowers(aten.silu.default)
    def silu(build: Builder, x: Array) -> Array: ...

A lowering is called with a builder for its node, then the node's own arguments: tensors as `Array`, symbolic integers as `Index`
(it is not called if it declares the parameter a `float`), everything else as it stands in the graph. It returns an `Array`, or a
tuple (or list) of them, None where the operator's result is undefined. It raises `Unsupported` for arguments it does not serve.
"""

from __future__ import annotations

import functools
import inspect
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


@functools.cache
def find_floats(lowering: Lowering) -> tuple[frozenset[int], frozenset[str]]:
    """The parameters declared as floats, by position behind the builder and by name: numbers that the lowering computes with."""
    parameters = list(inspect.signature(lowering).parameters.values())[1:]
    found = [(position, p) for position, p in enumerate(parameters) if p.annotation in ("float", "float | None")]
    return frozenset(position for position, _ in found), frozenset(p.name for _, p in found)
