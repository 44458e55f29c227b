"""How results of a call are put together from flattened ones: containers that PyTorch knows, and objects of the module's own.

    Structure  = spec, items, parts          spec: what PyTorch flattens a result by; items: its leaves
    Item       = Leaf(index) | Made(number) | Kept(value)
    Part       = Filled(kind, keys, items) | Unflattened(spec, items)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch.utils._pytree import TreeSpec, tree_unflatten


@dataclass(frozen=True, slots=True)
class Leaf:
    """The flattened result of this index."""

    index: int


@dataclass(frozen=True, slots=True)
class Made:
    """The part of this number, one object wherever it stands."""

    number: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A value that is the same at every call, or a class, a function or a module."""

    value: Any


Item: TypeAlias = Leaf | Made | Kept


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
class Structure:
    """The structure of a result with objects in it that PyTorch does not look into; like a TreeSpec to those who unflatten."""

    spec: TreeSpec
    items: tuple[Item, ...]
    parts: tuple[Part, ...]

    def is_leaf(self) -> bool:
        """Whether the result is one leaf as it is: never."""
        return False

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Put a result together: new objects at every call, whose `__init__` does not run."""
        made: dict[int, Any] = {}

        def find(item: Item) -> Any:
            match item:
                case Leaf(index):
                    return leaves[index]
                case Made(number):
                    return made[number] if number in made else make(number)
                case Kept(value):
                    return value

        def make(number: int) -> Any:
            part = self.parts[number]
            if isinstance(part, Unflattened):
                made[number] = tree_unflatten([find(item) for item in part.items], part.spec)
                return made[number]
            blank: Any = part.kind.__new__
            made[number] = whole = blank(part.kind)
            values = [find(item) for item in part.items]
            if isinstance(whole, list):
                whole.extend(values)
            else:
                (whole if isinstance(whole, dict) and part.kind is dict else vars(whole)).update(zip(part.keys, values, strict=True))
            return whole

        return tree_unflatten([find(item) for item in self.items], self.spec)
