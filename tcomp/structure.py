"""How arguments and results of a call are put together from flattened ones: containers that PyTorch knows, and objects that it does not.

    Structure  = spec, items, parts, refills          spec: what PyTorch flattens the whole by; items: its leaves
    Item       = Leaf(index) | Made(number) | Kept(value) | Passed(number)
    Part       = Filled(kind, keys, items) | Unflattened(spec, items)
    Refill     = number, removed, keys, items         of a result: what the call assigns to an object that it was given

The objects that a call is given are numbered like the parts of its arguments' structure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten


class Unread(Enum):
    """What stands for a flattened argument that makes no difference."""

    UNREAD = 0


UNREAD = Unread.UNREAD


@dataclass(frozen=True, slots=True)
class Leaf:
    """The flattened argument or result of this index."""

    index: int


@dataclass(frozen=True, slots=True)
class Made:
    """The part of this number, one object wherever it stands."""

    number: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A value that is the same at every call, or a class, a function or a module."""

    value: Any


@dataclass(frozen=True, slots=True)
class Passed:
    """The object of this number among those that the call was given."""

    number: int


Item: TypeAlias = Leaf | Made | Kept | Passed


@dataclass(frozen=True, slots=True)
class Filled:
    """A list, a dictionary or a plain object: made empty and then given what it holds, which may be itself."""

    kind: type
    keys: tuple[Any, ...]
    """Of a dictionary's items, or the names of an object's attributes; of a list none."""
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Unflattened:
    """Another container, which PyTorch makes from what it holds."""

    spec: TreeSpec
    items: tuple[Item, ...]


Part: TypeAlias = Filled | Unflattened


@dataclass(frozen=True, slots=True)
class Refill:
    """What a call changes in a list, a dictionary or the attributes of an object that it was given."""

    number: int
    removed: tuple[Any, ...]
    """The keys, or names, that are gone."""
    keys: tuple[Any, ...]
    """Of the items that are new; of a list none: all of it is."""
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Structure:
    """How arguments or a result are put together where objects are among them; like a TreeSpec to those who unflatten."""

    spec: TreeSpec
    items: tuple[Item, ...]
    parts: tuple[Part, ...]
    refills: tuple[Refill, ...] = ()
    takes_containers: bool = False
    """Whether what a call is given goes on, behind the objects, with the containers that its arguments are in."""

    def is_leaf(self) -> bool:
        """Whether the whole is one leaf as it is: never."""
        return False

    def unflatten(self, leaves: Sequence[Any], given: Sequence[Any] = ()) -> Any:
        """Put the whole together, with new objects whose `__init__` does not run, and refill those that were `given`."""
        made: dict[int, Any] = {}
        whole = self.build(leaves, made, given)
        news = [[self._find(item, leaves, made, given) for item in refill.items] for refill in self.refills]
        for refill, values in zip(self.refills, news, strict=True):
            _refill(given[refill.number], refill, values)
        return whole

    def build(self, leaves: Sequence[Any], made: dict[int, Any], given: Sequence[Any] = ()) -> Any:
        """Put the whole together; parts are kept in `made` by their numbers."""
        return tree_unflatten([self._find(item, leaves, made, given) for item in self.items], self.spec)

    def list_outer(self) -> frozenset[int]:
        """The leaves that no object holds."""
        return frozenset(item.index for item in self.items if isinstance(item, Leaf))

    def name_kind(self, item: Made) -> str:
        """The name of an object's class."""
        part = self.parts[item.number]
        return part.kind.__name__ if isinstance(part, Filled) else str(part.spec.type.__name__)

    def find_leaves(self, items: Sequence[Item], unread: Collection[tuple[int, Any]] = ()) -> set[int]:
        """The leaves that can be reached from items without the keys `unread` of parts."""
        found: set[int] = set()
        seen: set[int] = set()
        waiting = list(items)
        while waiting:
            match waiting.pop():
                case Leaf(index):
                    found.add(index)
                case Made(number) if number not in seen:
                    seen.add(number)
                    part = self.parts[number]
                    keys = part.keys if isinstance(part, Filled) and part.keys else (None,) * len(part.items)
                    waiting.extend(item for key, item in zip(keys, part.items, strict=True) if (number, key) not in unread)
        return found

    def _find(self, item: Item, leaves: Sequence[Any], made: dict[int, Any], given: Sequence[Any]) -> Any:
        match item:
            case Leaf(index):
                return leaves[index]
            case Kept(value):
                return value
            case Passed(number):
                return given[number]
            case Made(number):
                return made[number] if number in made else self._make(number, leaves, made, given)

    def _make(self, number: int, leaves: Sequence[Any], made: dict[int, Any], given: Sequence[Any]) -> Any:
        part = self.parts[number]
        if isinstance(part, Unflattened):
            made[number] = tree_unflatten([self._find(item, leaves, made, given) for item in part.items], part.spec)
            return made[number]
        blank: Any = part.kind.__new__
        made[number] = whole = blank(part.kind)
        values = [self._find(item, leaves, made, given) for item in part.items]
        if isinstance(whole, list):
            whole.extend(values)
        else:
            find_table(whole).update(zip(part.keys, values, strict=True))
        return whole


def unflatten(spec: TreeSpec | Structure, leaves: Sequence[Any], given: Sequence[Any], arguments: Any) -> Any:
    """Put a whole together from its leaves and the objects that a call was given among its `arguments`, which it may change."""
    if not isinstance(spec, Structure):
        return spec.unflatten(leaves)
    return spec.unflatten(leaves, (*given, *list_containers(arguments)) if spec.takes_containers else given)


def list_containers(arguments: Any) -> list[Any]:
    """The lists, dictionaries and other containers that PyTorch flattens, but for tuples, which nobody can change."""
    found: list[Any] = []

    def note(value: Any) -> bool:
        if isinstance(value, (list, dict, deque)):
            found.append(value)
        return False

    tree_flatten(arguments, is_leaf=note)
    return found


def find_table(whole: Any) -> dict[Any, Any]:
    """A dictionary itself, or that of an object's attributes."""
    return whole if type(whole) is dict else vars(whole)


def _refill(whole: Any, refill: Refill, values: Sequence[Any]) -> None:
    if isinstance(whole, list):
        whole[:] = values
        return
    table = find_table(whole)
    for key in refill.removed:
        table.pop(key, None)
    table.update(zip(refill.keys, values, strict=True))
