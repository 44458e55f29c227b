"""The Python state that a module's forward can reach, as it was before a recording: seen to change, and put back.

A recording runs forward on fake tensors, so whatever forward assigns would leave fakes, or a count too many, in the user's objects.
Looked through: attributes of modules and of plain objects and of their classes, lists, dictionaries, sets and deques in each other,
variables of closures, defaults and attributes of functions, and the globals that the Python of the modules names. Caches of functions
(functools.lru_cache) that a recording has filled are emptied.
"""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._dynamo.guards import dict_version

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
"""Types of values that are what they say, whichever object holds them."""
CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)
"""Types of containers that are looked through; their subclasses may do anything when they are read."""
METHODS = (FunctionType, BuiltinFunctionType, classmethod, staticmethod, property, MemberDescriptorType, GetSetDescriptorType)
"""What of a class says how its objects behave, and is no value."""
_MISSING = object()
_UNFOLLOWED = frozenset({*sys.stdlib_module_names, "torch", "numpy", "tcomp"})


@dataclass(frozen=True, slots=True)
class _TensorState:
    name: str
    tensor: Tensor
    memory: Tensor
    requires_grad: bool
    grad: Tensor | None

    def restore(self) -> bool:
        """Whether the tensor had changed."""
        tensor, memory = self.tensor, self.memory
        is_moved = (
            tensor.device != memory.device
            or tensor.untyped_storage()._cdata != memory.untyped_storage()._cdata
            or (tensor.shape, tensor.stride(), tensor.storage_offset()) != (memory.shape, memory.stride(), memory.storage_offset())
        )
        if is_moved:
            tensor.data = memory
        is_asked = tensor.is_leaf and tensor.requires_grad != self.requires_grad
        if is_asked:
            tensor.requires_grad_(self.requires_grad)
        has_other = tensor.is_leaf and tensor.grad is not self.grad
        if has_other:
            tensor.grad = self.grad
        return is_moved or is_asked or has_other


class State:
    """All that a module can reach, at one moment: by itself, and by its arguments but for those objects whose ids are `apart`."""

    def __init__(
        self,
        module: nn.Module,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
        apart: Collection[int] = (),
    ) -> None:
        self._apart = apart
        self._seen: dict[int, object] = {}
        self._containers: list[tuple[str, Any, Any]] = []
        self._globals: list[tuple[str, dict[str, Any], Any]] = []
        self._cells: list[tuple[str, CellType, Any]] = []
        self._classes: dict[type, dict[str, Any]] = {}
        self._caches: list[tuple[Any, int]] = []
        self._tensors: list[_TensorState] = []
        self._tables: list[dict[Any, Any]] = []
        self._versions: list[int] = []
        self.has_bounded_change = False
        """Whether a deque of limited length had changed."""
        self._follow(("self", module))
        self._lasting = dict(self._seen)
        self._follow(*((f"argument {index}", value) for index, value in enumerate(args)), *kwargs.items())

    def is_lasting(self, value: object) -> bool:
        """Whether the module itself could reach an object, not only by its arguments."""
        return id(value) in self._lasting

    def has_kind(self, kinds: Collection[type]) -> bool:
        """Whether the module itself could reach an object of one of these classes."""
        return any(type(value) in kinds for value in self._lasting.values())

    def _follow(self, *waiting: tuple[str, Any]) -> None:
        left = list(waiting)
        while left:
            name, value = left.pop()
            if id(value) not in self._seen and not isinstance(value, PLAIN):
                self._seen[id(value)] = value
                left.extend(self._take(name, value))

    def has_any(self, attributes: Collection[tuple[int, str]]) -> bool:
        """Whether one of these attributes is one of an object that the module can reach."""
        return any(owner in self._seen for owner, _ in attributes)

    def is_current(self) -> bool:
        """Whether nothing but tensors has been written to since everything was put back."""
        return (
            list(map(dict_version, self._tables)) == self._versions
            and all(_find_change(*pair) is _MISSING for _, *pair in self._containers if _find_table(pair[0]) is None)
            and all(is_same(scope.get(name, _MISSING), value) for name, scope, value in self._globals)
            and all(_is_filled(cell) and is_same(cell.cell_contents, value) for _, cell, value in self._cells)
            and not any(_find_changed(kind, before) for kind, before in self._classes.items())
        )

    def restore(self, foreign: Collection[tuple[int, str]] = ()) -> tuple[str, ...]:
        """Put everything back but the attributes of modules that other threads wrote (`foreign`); returns what had changed."""
        changed = [state.name for state in self._tensors if state.restore()]
        for name, container, before in self._containers:
            if isinstance(container, _Attributes):
                before = _keep_foreign(container, before, foreign)
            key = _find_change(container, before)
            if key is not _MISSING:
                _refill(container, before)
                self.has_bounded_change |= isinstance(container, deque) and container.maxlen is not None
                changed.append(name if key is None else f"{name}.{key}" if isinstance(container, _Attributes) else _name_item(name, key))
        for name, scope, value in self._globals:
            if not is_same(scope.get(name, _MISSING), value):
                scope[name] = value
                changed.append(f"the global {name}")
        for name, cell, value in self._cells:
            if not is_same(cell.cell_contents, value):
                cell.cell_contents = value
                changed.append(f"the variable {name}")
        for kind, before in self._classes.items():
            names = _find_changed(kind, before)
            changed.extend(f"{kind.__name__}.{name}" for name in names)
            for name in names:
                setattr(kind, name, before[name]) if name in before else delattr(kind, name)
        for cache, misses in self._caches:
            if cache.cache_info().misses != misses:
                cache.cache_clear()
        # Versions, as a value that another thread writes may be overwritten by the one that was there.
        self._tables = [table for _, container, _ in self._containers if (table := _find_table(container)) is not None]
        self._versions = list(map(dict_version, self._tables))
        return tuple(dict.fromkeys(changed))

    def _take(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        match value:
            case Tensor():
                if type(value) in (Tensor, nn.Parameter, nn.Buffer) and value.layout is torch.strided:
                    grad = value.grad if value.is_leaf else None
                    self._tensors.append(_TensorState(name, value, value.detach(), value.requires_grad, grad))
            case _ if type(value) in CONTAINERS:
                before = _copy(value)
                if id(value) not in self._apart:
                    self._containers.append((name, value, before))
                items = before.items() if isinstance(before, dict) else enumerate(before)
                yield from ((_name_item(name, key), item) for key, item in items)
                if isinstance(before, dict):
                    yield from ((f"a key of {name}", key) for key in before if type(key) is not str and not isinstance(key, PLAIN))
            case tuple():
                yield from ((f"{name}[{index}]", item) for index, item in enumerate(value))
            case FunctionType():
                yield from self._take_function(value)
            case functools._lru_cache_wrapper():
                self._caches.append((value, value.cache_info().misses))
                yield name, value.__wrapped__
            case _ if is_followed(value):
                scope = dict(vars(value))
                if id(value) not in self._apart:
                    self._containers.append((name, _Attributes(id(value), vars(value)), scope))
                yield from ((f"{name}.{key}", item) for key, item in scope.items() if key not in _TABLES)
                for table in _TABLES & scope.keys() if isinstance(value, nn.Module) else ():
                    before = dict(scope[table])
                    self._containers.append((name, _Attributes(id(value), scope[table]), before))
                    yield from ((f"{name}.{key}", item) for key, item in before.items())
                for kind in type(value).__mro__:
                    if is_users(kind.__module__) and kind not in self._classes:
                        self._classes[kind] = list_values(kind)
                        yield from ((f"{kind.__name__}.{key}", item) for key, item in self._classes[kind].items())
                        yield from ((name, function) for function in vars(kind).values() if isinstance(function, FunctionType))

    def _take_function(self, function: FunctionType) -> Iterator[tuple[str, Any]]:
        if not is_users(function.__module__):
            return
        yield from (("a default", value) for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()))
        if function.__dict__ or function.__name__ in function.__code__.co_names:
            scope = dict(vars(function))
            self._containers.append((function.__name__, _Attributes(id(function), vars(function)), scope))
            yield from ((f"{function.__name__}.{key}", value) for key, value in scope.items())
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__" and _is_filled(cell):
                self._cells.append((name, cell, cell.cell_contents))
                yield name, cell.cell_contents
        for name, value in find_globals(function):
            self._globals.append((name, function.__globals__, value))
            yield f"the global {name}", value


_TABLES = {"_parameters", "_buffers", "_modules"}


@dataclass(frozen=True, slots=True)
class _Attributes:
    """A dictionary whose items are attributes of the object of this number."""

    owner: int
    scope: dict[str, Any]


def _keep_foreign(attributes: _Attributes, before: dict[str, Any], foreign: Collection[tuple[int, str]]) -> dict[str, Any]:
    """What attributes were, with what other threads made of them."""
    names = [name for owner, name in foreign if owner == attributes.owner]
    if not names:
        return before
    kept = {name: value for name, value in before.items() if name not in names or name in attributes.scope}
    return kept | {name: attributes.scope[name] for name in names if name in attributes.scope}


def list_values(kind: type) -> dict[str, Any]:
    """What a class holds besides its methods."""
    return {name: value for name, value in vars(kind).items() if not isinstance(value, METHODS) and not name.startswith("__")}


def _find_changed(kind: type, before: Mapping[str, Any]) -> list[str]:
    """The names of what a class holds and did not hold before, or the other way round."""
    now = list_values(kind)
    return [name for name in {**before, **now} if not is_same(now.get(name, _MISSING), before.get(name, _MISSING))]


def is_users(package: str | None) -> bool:
    """Whether a module of Python is neither PyTorch's, numpy's, ours nor of the standard library."""
    return package is not None and package.partition(".")[0] not in _UNFOLLOWED


def is_followed(value: object) -> bool:
    """Whether an object's attributes are looked at: those of modules and of the user's own plain objects."""
    kind = type(value)
    return isinstance(value, (nn.Module, SimpleNamespace)) or (is_users(kind.__module__) and type(getattr(value, "__dict__", None)) is dict)


def find_class_attributes(function: FunctionType) -> Iterator[tuple[type, str]]:
    """The values that a function may read of classes of the user's that it names: attributes that it names too, by the class.

    A class that has it not comes with those that do: it may get one of its own.
    """
    names = tuple(dict.fromkeys(_list_names(function.__code__)))
    for named in (function.__globals__.get(name) for name in names):
        kinds = [kind for kind in named.__mro__ if is_users(kind.__module__)] if isinstance(named, type) else []
        for name in names:
            if any(name in vars(kind) and not isinstance(vars(kind)[name], METHODS) for kind in kinds):
                yield from ((kind, name) for kind in kinds)


def find_globals(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that a function names and that may be state: neither classes nor modules, nor functions that are not the user's."""
    scope = function.__globals__
    for name in _list_names(function.__code__):
        value = scope.get(name, _MISSING)
        if value is _MISSING or isinstance(value, (type, ModuleType, BuiltinFunctionType)):
            continue
        if not isinstance(value, FunctionType) or is_users(value.__module__):
            yield name, value


def is_same(now: object, before: object) -> bool:
    """Whether two values are one object, or plain values that say the same."""
    if now is before:
        return True
    if isinstance(now, tuple) and isinstance(before, tuple):
        return len(now) == len(before) and all(map(is_same, now, before))
    return type(now) is type(before) and isinstance(now, PLAIN) and repr(now) == repr(before)


def _list_names(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes in code, and in the functions within."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _list_names(part)


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (empty ones raise)
    except ValueError:
        return False
    return True


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else set(value) if isinstance(value, set) else list(value)


def _find_change(container: Any, before: Any) -> object:
    """What differs first: a key, None for the container itself, _MISSING for nothing."""
    # A copy, as other threads may write.
    now = _copy(container.scope if isinstance(container, _Attributes) else container)
    if isinstance(before, dict):
        for key, value in now.items():
            if not is_same(value, before.get(key, _MISSING)):
                return key
        return next((key for key in before if key not in now), _MISSING)
    if isinstance(before, set):
        return _MISSING if now == before else None
    return _MISSING if len(now) == len(before) and all(map(is_same, now, before)) else None


def _find_table(container: Any) -> dict[Any, Any] | None:
    """The dictionary that a container is, if the interpreter counts the writes to it."""
    table = container.scope if isinstance(container, _Attributes) else container
    return table if type(table) is dict else None


def _refill(container: Any, before: Any) -> None:
    target = container.scope if isinstance(container, _Attributes) else container
    if isinstance(target, dict):
        # Other threads that read meanwhile are to find what they look for.
        for key in [key for key in target if key not in before]:
            del target[key]
        if list(target) == list(before)[: len(target)]:
            target.update(before)
            return
    target.clear()
    target.extend(before) if isinstance(target, (list, deque)) else target.update(before)


def _name_item(name: str, key: object) -> str:
    return f"{name}[{key!r}]"
