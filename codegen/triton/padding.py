"""How long the dimensions of tensors are: powers of two, and as long as tensor cores need them."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tcomp.codegen.triton.contraction import find_dot
from tcomp.codegen.triton.scope import next_power
from tcomp.ir.tile import Axis, Kernel
from tcomp.ir.tile_scope import find_sites


def plan_padding(kernel: Kernel) -> dict[Axis, int]:
    """The padded sizes of axes (without their limits) that are not simply the next power of two.

    They are the same in the whole kernel, so that blocks keep their shapes.
    """
    padding: dict[Axis, int] = {}
    for site in find_sites(kernel):
        dot = find_dot(site.assign, site.dtypes())
        if dot is None:
            continue
        inner = prod(next_power(axis.size) for axis in dot.inner)
        if inner < dot.smallest_inner:
            last = replace(dot.inner[-1], limit=None)
            size = next_power(last.size) * (dot.smallest_inner // inner)
            padding[last] = max(size, padding.get(last, 0))
    return padding
