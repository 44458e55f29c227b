"""Products of groups of rows with matrices of their own, as in a mixture of experts, and the histograms that say how long groups are.

Row i of a belongs to the first group g with i < ends[g]:

    grouped_mm(a, b, ends)[i]  =  a[i] @ b[g]

Groups are as long as the data say. So rows are dealt out to blocks of equally many, each of one group and the last of a group partly
empty, as in MegaBlocks (Gale et al., 2022): a block is a product of matrices of fixed size, with the matrix that its group chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.experimental.symbolic_shapes import guard_or_false

aten = torch.ops.aten

MOST_ROWS = 16
"""Of a block: about as many as a tile of a kernel has."""


def _grouped_product(
    a: Tensor, b: Tensor, ends: Tensor | None = None, bias: Tensor | None = None, out_dtype: torch.dtype | None = None
) -> Any:
    """Of rows [n, k] with matrices [groups, k, m]; on CPUs, where PyTorch multiplies group by group."""
    if ends is None or bias is not None or out_dtype not in (None, a.dtype) or (a.dim(), b.dim()) != (2, 3) or a.device.type != "cpu":
        return NotImplemented
    count, groups = a.shape[0], b.shape[0]
    if not groups or guard_or_false(count == 0):
        return NotImplemented
    ends = ends.long()
    row = torch.arange(count, device=a.device)
    group = _find_group(ends, row)
    rows = max(1, min(MOST_ROWS, count // groups)) if isinstance(count, int) else MOST_ROWS
    if rows == 1:
        return torch.bmm(a[:, None], b[group]).squeeze(1)
    starts = torch.nn.functional.pad(ends[:-1], [1, 0])
    # Where the blocks of a group end, and begin.
    block_ends = ((ends - starts + (rows - 1)) // rows).cumsum(0)
    block_starts = torch.nn.functional.pad(block_ends[:-1], [1, 0])
    blocks = count // rows + groups
    chosen = _find_group(block_ends, torch.arange(blocks, device=a.device))
    first = (starts - block_starts * rows)[chosen] + torch.arange(blocks, device=a.device) * rows
    source = (first[:, None] + torch.arange(rows, device=a.device)).clamp(0, count - 1)
    products = torch.bmm(a[source], b[chosen])
    place = (block_starts * rows - starts)[group] + row
    return products.reshape(blocks * rows, -1)[place.clamp(0, blocks * rows - 1)]


def _find_group(ends: Tensor, number: Tensor) -> Tensor:
    """The first group that ends behind a number; the last one if none does."""
    return (ends <= number[:, None]).sum(1).clamp(max=ends.shape[0] - 1)


def _histogram(x: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """Counts of the elements in equal parts of a range, its upper end included; where the data say the range, eager finds it."""
    if x.dtype not in (torch.float32, torch.float64) or x.device.type != "cpu" or not min < max:
        return NotImplemented
    x = x.reshape(-1)
    is_inside = (x >= min) & (x <= max)
    part = ((torch.where(is_inside, x, min) - min) * bins / (max - min)).long().clamp(max=bins - 1)
    return x.new_zeros(bins).scatter_add(0, part, is_inside.to(x.dtype))


GROUPED: Mapping[OpOverload, Callable[..., Any]] = {aten._grouped_mm.default: _grouped_product, aten.histc.default: _histogram}
