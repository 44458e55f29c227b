"""Lay out every tensor that a group stores, in some order of its dimensions.

Only tensors inside the program are free to lie as one likes; inputs and outputs lie as the caller's strides say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from tcomp.ir.cascade import Einsum
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Index
from tcomp.ir.tile import contiguous_strides
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.group import Group
from tcomp.passes.groups.rolling import shape_in_memory

Order: TypeAlias = Callable[[Group, Einsum, str, Mapping[str, Memory]], tuple[int, ...]]
"""The dimensions of a tensor, which an einsum of a group makes, in memory order."""


def lay_out(groups: tuple[Group, ...], memories: dict[str, Memory], choose: Order, pinned: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Give every stored tensor a memory in `memories` (which holds the external tensors); returns the permutations chosen.

    Tensors in `pinned` lie as their dimensions are written. Raises Illegal for what is no permutation of a tensor's dimensions.
    """
    layouts: dict[str, tuple[int, ...]] = {}
    for group in groups:
        table = {name: (e, dtype) for e in group.members for name, dtype in e.targets}
        for name in group.stored:
            if name in memories:
                continue
            einsum, dtype = table[name]
            written = tuple(range(len(einsum.shape)))
            order = written if name in pinned else choose(group, einsum, name, memories)
            if tuple(sorted(order)) != written:
                raise Illegal(
                    f"{order} is no order of the {len(written)} dimensions of {name}",
                    where=f"layout {name}",
                    help="name each once, counted from 0",
                    clause=("layout", name),
                )
            shape = shape_in_memory(group, einsum)
            memories[name] = Memory(dtype, shape, permuted_strides(shape, order))
            if order != written:
                layouts[name] = order
    return layouts


def permuted_strides(shape: tuple[Index, ...], order: tuple[int, ...]) -> tuple[Index, ...]:
    """Strides of a tensor whose dimensions lie in memory in the given order, outermost first."""
    strides = contiguous_strides(tuple(shape[d] for d in order))
    table = dict(zip(order, strides))
    return tuple(table[d] for d in range(len(shape)))


def dense_strides(shape: tuple[Index, ...], strides: tuple[Index, ...]) -> tuple[Index, ...]:
    """Strides in the same order without gaps, and without elements that share a place: those of a slice, or of an expanded tensor."""
    return permuted_strides(shape, tuple(sorted(range(len(shape)), key=lambda d: (-size_of(strides[d]), d))))


def size_of(stride: Index) -> int:
    """A stride in elements; a symbolic one at typical sizes."""
    return stride.constant if stride.is_constant else sum(c * typical(Index(((m, 1),), 0)) for m, c in stride.terms)
