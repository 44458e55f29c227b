"""Flattening results with objects in them that PyTorch does not look into, such as a cache of keys and values.

Of an object that a module makes while it runs, a call makes another one of the same class with the same attributes, and the call's own
tensors among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from types import BuiltinFunctionType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from tcomp.capture.state import PLAIN, is_users
from tcomp.ir.errors import Unsupported
from tcomp.structure import Filled, Item, Kept, Leaf, Made, Part, Structure, Unflattened


def flatten_results(result: Any, is_lasting: Callable[[object], bool]) -> tuple[list[Any], TreeSpec | Structure]:
    """The tensors, numbers and other values of a result, and how it is put together from them.

    `is_lasting` says of an object whether the module had it before it ran. Raises Unsupported for such ones, and for objects that are
    more than their attributes: with slots or state kept by C code, or with their own way of being copied.
    """
    leaves, spec = tree_flatten(result)
    if all(isinstance(leaf, VALUES) for leaf in leaves):
        return leaves, spec
    flattener = _Flattener(is_lasting)
    items = tuple(flattener.find_item(leaf, f"flattened output {index}") for index, leaf in enumerate(leaves))
    return flattener.leaves, Structure(spec, items, tuple(flattener.list_parts()))


VALUES = (Tensor, *PLAIN, slice, torch.SymInt)
"""Types of flattened results that are what they say."""


class _Flattener:
    def __init__(self, is_lasting: Callable[[object], bool]) -> None:
        self.leaves: list[Any] = []
        self._is_lasting = is_lasting
        self._parts: list[Part | None] = []
        # Whatever has a number must stay alive, or another object may take its place.
        self._numbers: dict[int, tuple[int, object]] = {}

    def list_parts(self) -> list[Part]:
        return [part for part in self._parts if part is not None]

    def find_item(self, value: Any, where: str) -> Item:
        if isinstance(value, (Tensor, torch.SymInt)):
            self.leaves.append(value)
            return Leaf(len(self.leaves) - 1)
        if isinstance(value, VALUES) or _is_shared(value):
            return Kept(value)
        if self._is_lasting(value):
            # Of modules a call sees which objects they are, of others only what they hold.
            if isinstance(value, nn.Module):
                return Kept(value)
            raise _refuse(value, where, "that the module has had before")
        known = self._numbers.get(id(value))
        if known is not None:
            number, _ = known
            if self._parts[number] is None and not _is_filled(value):
                raise _refuse(value, where, "that holds itself")
            return Made(number)
        number = len(self._parts)
        self._numbers[id(value)] = number, value
        self._parts.append(None)
        self._parts[number] = self._open(value, where)
        return Made(number)

    def _open(self, value: Any, where: str) -> Part:
        if isinstance(value, list) and type(value) is list:
            return Filled(list, (), self._find_items(value, [f"{where}[{index}]" for index in range(len(value))]))
        if type(value) is dict:
            return self._fill(dict, value, [f"{where}[{key!r}]" for key in value], where)
        if is_plain_object(value):
            return self._fill(type(value), vars(value), [f"{where}.{name}" for name in vars(value)], where)
        opened = iter((False,))
        leaves, spec = tree_flatten(value, is_leaf=lambda part: next(opened, True))
        if spec.is_leaf():
            raise _refuse(value, where)
        return Unflattened(spec, self._find_items(leaves, [f"{where}[{index}]" for index in range(len(leaves))]))

    def _fill(self, kind: type, scope: dict[Any, Any], places: Sequence[str], where: str) -> Part:
        for key in scope:
            if not isinstance(key, PLAIN) and not _is_shared(key):
                raise _refuse(key, where, "as a key of a dictionary")
        return Filled(kind, tuple(scope), self._find_items(list(scope.values()), places))

    def _find_items(self, values: Sequence[Any], places: Sequence[str]) -> tuple[Item, ...]:
        return tuple(map(self.find_item, values, places))


def is_plain_object(value: object) -> bool:
    """Whether an object of the user's is all in its attributes, so that one with the same attributes is as good."""
    kind = type(value)
    if not (is_users(kind.__module__) or kind is SimpleNamespace) or type(getattr(value, "__dict__", None)) is not dict:
        return False
    is_usual = all(getattr(kind, name) is getattr(object, name) for name in _USUAL) or kind is SimpleNamespace
    is_bare = kind.__basicsize__ <= _Bare.__basicsize__ and not any(vars(base).get("__slots__") for base in kind.__mro__)
    return is_usual and (is_bare or kind is SimpleNamespace) and not any(hasattr(kind, name) for name in _UNUSUAL)


_USUAL = ("__new__", "__reduce_ex__", "__reduce__", "__getstate__")
_UNUSUAL = ("__deepcopy__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__del__")


class _Bare:
    """Of objects without slots, as large as they get."""


def _is_filled(value: object) -> bool:
    return type(value) in (list, dict) or is_plain_object(value)


def _is_shared(value: object) -> bool:
    """Whether a value is the same object wherever it stands, whoever made it."""
    if isinstance(value, FunctionType):
        return value.__closure__ is None
    return isinstance(value, (type, ModuleType, BuiltinFunctionType, Enum))


def _refuse(value: object, where: str, how: str = "") -> Unsupported:
    return Unsupported(
        f"an output of type {type(value).__name__}{how and f' {how}'}",
        where=where,
        help="return tensors, numbers, containers of them or objects that have them as attributes",
    )
