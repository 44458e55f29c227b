"""Which maps are computed where they are read rather than kept: those that cost less to compute than to read."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from tcomp.ir.cascade import Einsum, Tensor
from tcomp.ir.walk import loads
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.facts import cost

MOST_COST = 48
"""Arithmetic of one element, in instructions: reading 64 bytes from memory takes about as long as this for a vector of elements."""

GROWTH = 1.5
"""How many times the bytes of what it is made of a map takes at least."""


def is_worth_expanding(einsum: Einsum, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a map costs less to compute than to read, and takes more memory than what it is made of."""
    sources = {load.tensor: bytes_of(tensors[load.tensor]) for load in loads(einsum.expression)}
    return cost(einsum.expression) <= MOST_COST and bytes_of(tensors[einsum.name]) >= GROWTH * sum(sources.values())


def bytes_of(tensor: Tensor) -> int:
    """The bytes of a tensor; a symbolic one at typical sizes."""
    return tensor.dtype.bytes * prod(typical(extent) for extent in tensor.shape)
