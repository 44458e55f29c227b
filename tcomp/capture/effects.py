"""What a module's own Python changes while it is recorded: found, and put back as it was.

A recording runs forward on fakes. Whatever forward assigns (an attribute, a buffer, an element of a list, the data of a parameter)
would stay behind as fakes, or happen once instead of at every call. So all that can be reached from the module is remembered before,
compared afterwards, and restored.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_MOST = 100_000
"""Elements of one container that are looked into."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)


class Effects:
    """A module's state at one moment, to compare with and to go back to."""

    def __init__(self, module: nn.Module) -> None:
        self._containers: list[tuple[str, Any, Any]] = []
        self._tensors: list[tuple[str, Tensor, Tensor, bool, Tensor | None]] = []
        self._seen: set[int] = set()
        waiting: deque[tuple[str, Any]] = deque([("", module)])
        while waiting:
            waiting.extend(self._remember(*waiting.popleft()))

    def _remember(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Remember one value; yields those it holds."""
        if isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            if type(value) in (Tensor, nn.Parameter):
                self._tensors.append((name, value, value.data, value.requires_grad, value.grad if value.is_leaf else None))
        elif isinstance(value, dict):
            self._containers.append((name, value, dict(value)))
            yield from ((_join(name, key), item) for key, item in itertools.islice(value.items(), _MOST))
        elif isinstance(value, (list, set, deque)):
            self._containers.append((name, value, list(value)))
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(itertools.islice(value, _MOST)))
        elif isinstance(value, (tuple, frozenset)):
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(itertools.islice(value, _MOST)))
        elif holds_attributes(value):
            yield name, vars(value)

    def undo(self) -> tuple[str, ...]:
        """Put everything back; returns the names of what had changed, in order."""
        changed = [name for path, container, before in self._containers for name in _restore(path, container, before)]
        changed += [name for name, tensor, data, flag, gradient in self._tensors if _restore_tensor(tensor, data, flag, gradient)]
        return tuple(changed)


def holds_attributes(value: Any) -> bool:
    """Whether a value is a module, or a plain object of a class of Python's with attributes of its own."""
    if isinstance(value, nn.Module):
        return True
    if not hasattr(value, "__dict__") or callable(value) or isinstance(value, (type, ModuleType, Enum, Tensor)):
        return False
    return not f"{type(value).__module__}.".startswith(("torch.", "tcomp."))


_KEPT = ("_parameters", "_buffers", "_modules")


def _join(name: str, key: object) -> str:
    if key in _KEPT:
        return name
    return f"{name}.{key}" if name else str(key)


def _restore(path: str, container: Any, before: Any) -> list[str]:
    """Give a container its contents back; returns what of it had changed."""
    if isinstance(container, dict):
        keys = list(dict.fromkeys([*before, *container]))
        changed = [_join(path, key) for key in keys if not _is_same(container.get(key, _NONE), before.get(key, _NONE))]
        if changed or list(container) != list(before):
            container.clear()
            container.update(before)
        return changed
    if len(container) == len(before) and all(map(_is_same, container, before)):
        return []
    container.clear()
    (container.update if isinstance(container, set) else container.extend)(before)
    return [path]


_NONE = object()


def _is_same(now: Any, before: Any) -> bool:
    return now is before or (isinstance(now, _PLAIN) and type(now) is type(before) and (now == before or now != now))


def _restore_tensor(tensor: Tensor, data: Tensor, requires_grad: bool, gradient: Tensor | None) -> bool:
    """Give a tensor its memory, flag and gradient back; whether one of them had changed."""
    moved = type(tensor.data) is not type(data) or _describe(tensor) != _describe(data)
    if moved:
        tensor.data = data
    changed = moved or tensor.requires_grad != requires_grad or (tensor.is_leaf and tensor.grad is not gradient)
    if changed and tensor.is_leaf:
        tensor.requires_grad_(requires_grad)
        tensor.grad = gradient
    return changed


def _describe(tensor: Tensor) -> tuple[object, ...]:
    return tensor.untyped_storage()._cdata, tensor.device, tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset()
