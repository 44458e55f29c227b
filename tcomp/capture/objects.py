"""Flattening results with objects in them that PyTorch does not look into, such as a cache of keys and values.

Of an object that a module makes while it runs, a call makes another one of the same class with the same attributes, and the call's own
tensors among them. Objects that the module was given are those of the call, which assigns to them what the module does.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from tcomp.capture.state import PLAIN, is_users
from tcomp.ir.errors import Unsupported
from tcomp.structure import Filled, Item, Kept, Leaf, Made, Part, Passed, Refill, Structure, Unflattened


@dataclass(frozen=True, slots=True)
class Change:
    """What a recording changed in an object that the module was given: keys that are gone, and items that are new; of a list all."""

    number: int
    name: str
    removed: tuple[Any, ...]
    keys: tuple[Any, ...]
    values: tuple[Any, ...]


def flatten_results(
    result: Any,
    is_lasting: Callable[[object], bool],
    given: Mapping[int, int] = MappingProxyType({}),
    changes: Sequence[Change] = (),
    count: int = 0,
) -> tuple[list[Any], TreeSpec | Structure]:
    """The tensors, numbers and other values of a result and of what was assigned (`changes`), and how both are put together from them.

    `is_lasting` says of an object whether the module had it before it ran, `given` which of its arguments it is, by its `id`: one of
    `count` objects, or behind those a container that arguments are in. Raises
    Unsupported for those that it had, and for objects that are more than their attributes: with slots or state kept by C code, or
    with their own way of being copied.
    """
    leaves, spec = tree_flatten(result, is_leaf=lambda part: id(part) in given)
    check_keys(spec)
    if not changes and all(isinstance(leaf, VALUES) for leaf in leaves):
        return leaves, spec
    flattener = _Flattener(is_lasting, given)
    items = tuple(flattener.find_item(leaf, f"flattened output {index}") for index, leaf in enumerate(leaves))
    refills = tuple(flattener.find_refill(change) for change in changes)
    takes_containers = any(number >= count for number in flattener.passed)
    return flattener.leaves, Structure(spec, items, tuple(flattener.list_parts()), refills, takes_containers)


VALUES = (Tensor, *PLAIN, slice, torch.SymInt)
"""Types of flattened results that are what they say."""


class _Flattener:
    def __init__(self, is_lasting: Callable[[object], bool], given: Mapping[int, int]) -> None:
        self.leaves: list[Any] = []
        self._is_lasting = is_lasting
        self._given = given
        self.passed: set[int] = set()
        self._parts: list[Part | None] = []
        # Whatever has a number must stay alive, or another object may take its place.
        self._numbers: dict[int, tuple[int, object]] = {}

    def list_parts(self) -> list[Part]:
        return [part for part in self._parts if part is not None]

    def find_refill(self, change: Change) -> Refill:
        for key in change.keys:
            check_key(key, change.name)
        places = [f"{change.name}[{key!r}]" for key in change.keys or range(len(change.values))]
        return Refill(change.number, change.removed, change.keys, self._find_items(change.values, places))

    def find_item(self, value: Any, where: str) -> Item:
        if isinstance(value, (Tensor, torch.SymInt)):
            self.leaves.append(value)
            return Leaf(len(self.leaves) - 1)
        if isinstance(value, VALUES) or is_shared(value) or (type(value) is torch.Size and all(type(size) is int for size in value)):
            return Kept(value)
        if id(value) in self._given:
            self.passed.add(self._given[id(value)])
            return Passed(self._given[id(value)])
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
        if type(value) is list:
            return Filled(list, (), self._find_items(value, [f"{where}[{index}]" for index in range(len(value))]))
        if type(value) is dict:
            return self._fill(dict, value, [f"{where}[{key!r}]" for key in value], where)
        if is_plain_kind(type(value)):
            return self._fill(type(value), vars(value), [f"{where}.{name}" for name in vars(value)], where)
        opened = iter((False,))
        leaves, spec = tree_flatten(value, is_leaf=lambda part: next(opened, True))
        if spec.is_leaf():
            raise _refuse(value, where)
        return Unflattened(spec, self._find_items(leaves, [f"{where}[{index}]" for index in range(len(leaves))]))

    def _fill(self, kind: type, scope: dict[Any, Any], places: Sequence[str], where: str) -> Part:
        for key in scope:
            check_key(key, where)
        return Filled(kind, tuple(scope), self._find_items(list(scope.values()), places))

    def _find_items(self, values: Sequence[Any], places: Sequence[str]) -> tuple[Item, ...]:
        return tuple(map(self.find_item, values, places))


def _is_plain_kind(kind: type) -> bool:
    """Whether objects of a class of the user's are all in their attributes, so that one with the same attributes is as good."""
    if kind is SimpleNamespace:
        return not any(hasattr(kind, name) for name in _UNUSUAL)
    is_usual = is_users(kind.__module__) and all(getattr(kind, name) is getattr(object, name) for name in _USUAL)
    # While a module is recorded, classes are given what notes which attributes are read.
    is_open = type(kind).__setattr__ is type.__setattr__
    # What has no slots, nor state of C code, is no larger than a bare object with attributes.
    is_bare = kind.__basicsize__ <= _Bare.__basicsize__ and not any(vars(base).get("__slots__") for base in kind.__mro__)
    return is_usual and is_open and is_bare and kind.__dictoffset__ != 0 and not any(hasattr(kind, name) for name in _UNUSUAL)


is_plain_kind: Callable[[type], bool] = functools.lru_cache(1024)(_is_plain_kind)
_USUAL = ("__new__", "__reduce_ex__", "__reduce__", "__getstate__")
_UNUSUAL = ("__deepcopy__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__del__")


class _Bare:
    """Of objects without slots, as large as they get."""


def _is_filled(value: object) -> bool:
    return type(value) in (list, dict) or is_plain_kind(type(value))


def is_shared(value: object) -> bool:
    """Whether a value is the same object wherever it stands, whoever made it."""
    if isinstance(value, FunctionType):
        return value.__closure__ is None
    return isinstance(value, (type, ModuleType, BuiltinFunctionType, Enum))


def check_key(key: object, where: str) -> None:
    """Raise Unsupported for a key of a dictionary that is a tensor, or an object: in a recording it is another one than in a call."""
    if not isinstance(key, PLAIN) and not is_shared(key) and not (isinstance(key, tuple) and all(isinstance(k, PLAIN) for k in key)):
        raise _refuse(key, where, "as a key of a dictionary")


def check_keys(spec: TreeSpec) -> None:
    """Raise Unsupported for such a key in a result."""
    if spec.type in (dict, OrderedDict, defaultdict):
        for key in spec.context[1] if spec.type is defaultdict else spec.context:
            check_key(key, "the result")
    for child in spec.children():
        if not child.is_leaf():
            check_keys(child)


def _refuse(value: object, where: str, how: str = "") -> Unsupported:
    return Unsupported(
        f"an output of type {type(value).__name__}{how and f' {how}'}",
        where=where,
        help="return tensors, numbers, containers of them or objects that have them as attributes",
    )
