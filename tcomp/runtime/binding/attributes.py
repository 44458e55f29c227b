"""The Python that programs read when they were recorded, and a quick way to tell whether it is still the same.

What was read is looked up again only when an object or a length differs (see `Watch`). Values are compared as programs see them:
numbers, strings and the like by value, lists, dictionaries, plain objects and their classes by what they hold, everything else
(tensors, functions, modules) by being the same object. What the C code of an extension keeps to itself, cells of closures, and values
in containers of more than `MOST_ITEMS`, or beyond `MOST` in all, are not seen.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import nn

from tcomp.capture.reads import ALL, Reads
from tcomp.capture.state import CONTAINERS, METHODS, is_followed, is_users
from tcomp.runtime.binding.watch import Watch

MOST = 10_000
"""Values watched in all; of more, only which objects they are."""
MOST_ITEMS = 256
"""Values watched in one container (a table of labels has thousands, and each costs time at every call); of a larger one, how many."""

Key: TypeAlias = tuple[int, str]
"""What was read: the number of the object that has it, and the name."""
Values: TypeAlias = Mapping[Key, Hashable]

_BY_VALUE = (type(None), bool, int, str, bytes, torch.dtype, torch.device, torch.Size, Enum, range)
_MISSING = object()


class _Same:
    """Stands for an object that is equal to itself alone, and keeps it alive, or another could take its number."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Attributes:
    """What programs have read, as it is now."""

    def __init__(self) -> None:
        self._attributes: dict[Key, tuple[nn.Module, str]] = {}
        self._globals: dict[Key, tuple[Mapping[str, Any], str]] = {}
        self._numbers: dict[Hashable, int] = {}
        self._lock = threading.RLock()
        self._held: dict[tuple[int, int], tuple[Values, Values, bool]] = {}
        """Whether what a program has read holds at what all programs read now, by the numbers of both."""
        self.present = Watch()
        """The objects that were looked at."""
        self.values: Values = {}
        self.number = 0
        """Stands for the values in keys, as it is quicker to hash."""

    def watch(self, reads: Reads) -> Values:
        """Watch what a program has read, too; returns its values."""
        attributes = {(id(module), name): (module, name) for module, names in reads.attributes.items() for name in names}
        spaces = {(id(space), name): (space, name) for space, name in reads.globals}
        with self._lock:
            self._attributes.update(attributes)
            self._globals.update(spaces)
            self.refresh()
            return {key: self.values[key] for key in (*attributes, *spaces)}

    def refresh(self) -> None:
        """Look everything up again."""
        with self._lock:
            look = _Look(Watch(containers=(module.__dict__ for module in {id(m): m for m, _ in self._attributes.values()}.values())))
            values: dict[Key, Hashable] = {key: look.read(*place) for key, place in self._attributes.items()}
            for key, (space, name) in self._globals.items():
                if isinstance(space, MappingProxyType):
                    # A class may get what one that it inherits from has.
                    look.measure(space)
                values[key] = look.hold(space, name) if name in space else _MISSING
            self.values = values
            self.number = self._numbers.setdefault(tuple(values.values()), len(self._numbers))
            self.present = look.watch

    def find_changed(self, values: Values) -> tuple[str, ...]:
        """The names of what a program has read and what has another value now."""
        changed = [key for key, value in values.items() if self.values.get(key, _MISSING) != value]
        owners = {key: type(module).__name__ for key, (module, _) in self._attributes.items()}
        return tuple(f"{owners[key]}.{key[1]}" if key in owners else key[1] for key in changed)

    def holds(self, values: Values) -> bool:
        """Whether what a program has read still has these values."""
        now = self.values
        known = self._held.get((id(values), id(now)))
        if known is None:
            known = values, now, all(now.get(key, _MISSING) == value for key, value in values.items())
            if len(self._held) >= MOST_ITEMS:
                self._held.clear()
            self._held[id(values), id(now)] = known
        return known[2]


class _Look:
    """One look at what was read."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._seen: dict[int, Hashable] = {}
        self._held: set[tuple[int, Any]] = set()
        self._measured: set[int] = set()

    def read(self, module: nn.Module, name: str) -> Hashable:
        """Watch an attribute, or that there is none, and describe it."""
        if name == ALL:
            return self._describe(module.__dict__)
        if name in module.__dict__:
            return self.hold(module.__dict__, name)
        for kind in type(module).__mro__:
            if name in vars(kind):
                return self.hold(vars(kind), name) if is_users(kind.__module__) else _Same(vars(kind)[name])
        tables = (module._parameters, module._buffers, module._modules)
        for table in tables:
            if name in table:
                return self.hold(table, name)
        # It may come.
        for table in tables:
            self.measure(table)
        return _MISSING

    def measure(self, container: Any) -> None:
        """Watch how long a container is, once."""
        if id(container) not in self._measured:
            self._measured.add(id(container))
            self.watch.add_container(container)

    def hold(self, holder: Any, key: Any) -> Hashable:
        """Watch one place, and describe what is there."""
        if (id(holder), key) in self._held:
            return self._describe(holder[key])
        self._held.add((id(holder), key))
        return self._describe(self.watch.add(holder, key))

    def _describe(self, value: Any) -> Hashable:
        """What tells a value from others; watches what it holds."""
        if isinstance(value, _BY_VALUE):
            return type(value), value
        if isinstance(value, (float, complex)):
            # -0.0 equals 0.0, and NaN nothing.
            return type(value), repr(value)
        known = self._seen.get(id(value))
        if known is not None:
            return known
        if len(self.watch) > MOST:
            return _Same(value)
        # What holds itself is described by which object it is.
        self._seen[id(value)] = _Same(value)
        described = self._describe_container(value)
        self._seen[id(value)] = described
        return described

    def _describe_container(self, value: Any) -> Hashable:
        if isinstance(value, (tuple, frozenset)) and len(value) <= MOST:
            return type(value), tuple(map(self._describe, value))
        if type(value) in CONTAINERS:
            self.measure(value)
            # To look up what a defaultdict lacks would add it.
            if len(value) > MOST_ITEMS or isinstance(value, defaultdict):
                return _Same(value), len(value)
            if isinstance(value, dict):
                return type(value), tuple((self._describe(key), self.hold(value, key)) for key in value)
            if isinstance(value, set):
                return type(value), frozenset(map(self._describe, value))
            return type(value), tuple(self.hold(value, index) for index in range(len(value)))
        if is_followed(value) and not isinstance(value, nn.Module):
            return type(value), tuple(map(self._describe_class, type(value).__mro__)), self._describe(vars(value))
        return _Same(value)

    def _describe_class(self, kind: type) -> Hashable:
        """What a class of the user's holds besides its methods; watches that, and whether there is more of it."""
        if not is_users(kind.__module__):
            return None
        space = vars(kind)
        self.measure(space)
        names = [name for name, value in space.items() if not isinstance(value, METHODS) and not name.startswith("__")]
        return tuple((name, self.hold(space, name)) for name in names)
