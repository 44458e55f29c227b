"""Pointwise operators: arithmetic."""

from __future__ import annotations

import torch

from tcomp.lowerings.builder import Array, Builder, Operand, pointwise
from tcomp.lowerings.scalars import Scalar
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


@lowers(aten.add.Tensor, aten.add.Scalar)
def add(build: Builder, a: Operand, b: Operand, alpha: float = 1) -> Array:
    """Sum: a + alpha * b."""
    return pointwise(build, lambda x, y: x + _scaled(y, alpha), a, b)


def _scaled(x: Scalar, alpha: float) -> Scalar:
    return x if alpha == 1 else x * alpha


@lowers(aten.mul.Tensor, aten.mul.Scalar)
def mul(build: Builder, a: Operand, b: Operand) -> Array:
    """Product: a * b."""
    return pointwise(build, lambda x, y: x * y, a, b)
