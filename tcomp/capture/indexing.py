"""Indexing with symbols: x[:, n] in Python makes a plain number of n, where select and slice would take the symbol."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SymbolicIndexing(TorchFunctionMode):
    """While active, `x[index]` and `x[index] = y` keep the symbols in an index of slices and numbers.

    x[:, n] => x.select(1, n); x[:, n] = y => x.select(1, n)[...] = y
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Take the steps of an index one by one, where a number among them is a symbol."""
        if func in _INDEXING and _is_served(parts := args[1] if isinstance(args[1], tuple) else (args[1],)):
            with self:
                shown = _show(args[0], parts)
                return shown if func is _GET else _SET(shown, ..., args[2])
        return func(*args, **(kwargs or {}))


_GET: Any = torch.Tensor.__getitem__
_SET: Any = torch.Tensor.__setitem__
_INDEXING = (_GET, _SET)


def _is_served(parts: tuple[Any, ...]) -> bool:
    is_plain = all(part is None or isinstance(part, (slice, EllipsisType, torch.SymInt)) or type(part) is int for part in parts)
    return is_plain and any(isinstance(part, torch.SymInt) for part in parts)


def _show(x: Tensor, parts: tuple[Any, ...]) -> Tensor:
    dim = 0
    for position, part in enumerate(parts):
        if part is ...:
            dim = x.dim() - sum(later is not None for later in parts[position + 1 :])
        elif part is None:
            x = x.unsqueeze(dim)
            dim += 1
        elif isinstance(part, slice):
            x = x[(slice(None),) * dim + (part,)]
            dim += 1
        else:
            x = x.select(dim, part)
    return x
