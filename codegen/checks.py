"""Indices that are data: which of them a kernel has to check at run time.

An index that contains a tensor's element is right only if the caller's data is. Where a load states no value outside, its kernel
compares the index with the extent; outside, it notes the number of the check in `*fault` and reads element 0. A store is left
out there, and noted as well. The memory of a program is never touched beyond its tensors, and the caller is told
(`tcomp.codegen.c.program`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Index
from tcomp.ir.index import Bounds, is_data, is_inside
from tcomp.ir.plan import ARENA, Plan
from tcomp.ir.tile import Kernel
from tcomp.ir.tile_scope import find_sites, place_shape
from tcomp.ir.walk import loads

FAULT = "fault"
"""The kernel's parameter: where the number of a check that failed goes, counted from 1."""


@dataclass(frozen=True, slots=True)
class IndexCheck:
    """Indices into one dimension of an argument or buffer, of `extent` elements."""

    tensor: str
    dimension: int
    extent: Index
    is_store: bool


def find_checks(kernel: Kernel) -> tuple[IndexCheck, ...]:
    """What a kernel checks, in the order of its statements."""
    bounds = Bounds({}, {s.name: (s.low, s.high) for s in kernel.symbols})
    found: dict[IndexCheck, None] = {}
    for site in find_sites(kernel):
        store = site.store
        for access in (store, *site.reads()):
            if access.outside is not None:
                continue
            for dimension, index in enumerate(access.index):
                if not is_data(index):
                    continue
                extent = place_shape(site.places[access.tensor])[dimension]
                if not is_inside(index, extent, bounds):
                    found.setdefault(IndexCheck(access.tensor, dimension, extent, access is store))
    return tuple(found)


def indexes_by_data(einsum: Einsum) -> bool:
    """Whether an einsum has such an index."""
    parts = [part for part in (einsum.expression, einsum.where, einsum.initial) if part is not None]
    return any(map(is_data, einsum.index)) or any(is_data(i) for part in parts for load in loads(part) for i in load.index)


@dataclass(frozen=True, slots=True)
class ProgramCheck:
    """A check of an index that is data: in which step, and the tensor that is indexed, ARENA if it is in the arena.

    The index must be at least 0 and less than `extent`.
    """

    step: int
    tensor: str
    extent: Index


def program_checks(plan: Plan, kernels: Mapping[str, Kernel]) -> tuple[ProgramCheck, ...]:
    """The checks of a program, in the order in which what `tcomp_run` returns counts them."""
    found: list[ProgramCheck] = []
    for number, step in enumerate(plan.steps):
        kernel = kernels[step.kernel]
        bases = {argument.name: place.base for argument, place in zip(kernel.arguments, step.places)}
        found += [ProgramCheck(number, bases.get(c.tensor, ARENA), c.extent) for c in find_checks(kernel)]
    return tuple(found)
