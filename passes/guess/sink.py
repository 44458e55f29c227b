"""Which maps sink into their only reader: all that can, unless more would live at once."""

from __future__ import annotations

from itertools import accumulate
from math import prod

from tcomp.ir.cascade import Cascade, Tensor
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.sink import sink_maps

LARGEST_EXPRESSION = 512
"""Nodes of an expression with the maps that sank into it."""


def choose_sinking(groups: tuple[Group, ...], cascade: Cascade) -> frozenset[str]:
    """The tensors whose maps sink."""
    left, gone = sink_maps(groups, cascade, largest=LARGEST_EXPRESSION)
    pays = gone and peak_bytes(left, cascade) <= peak_bytes(groups, cascade)
    return frozenset(name for group in gone for name in group.stored) if pays else frozenset()


def peak_bytes(groups: tuple[Group, ...], cascade: Cascade) -> int:
    """The largest sum of bytes that live at once between kernels that run in this order; inputs and outputs are not counted."""
    tensors = cascade.tensors()
    made = {name: place for place, group in enumerate(groups) for name in group.stored if name not in cascade.outputs}
    last = made | {name: place for place, group in enumerate(groups) for name in group.reads() if name in made}
    changes = [0] * (len(groups) + 1)
    for name, place in made.items():
        changes[place] += _bytes(tensors[name])
        changes[last[name] + 1] -= _bytes(tensors[name])
    return max(accumulate(changes))


def _bytes(tensor: Tensor) -> int:
    return prod(typical(extent) for extent in tensor.shape) * tensor.dtype.bytes
