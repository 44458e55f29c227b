"""Flattening the arguments of a call, and the objects among them that PyTorch does not look into, such as a cache of keys and values.

A tensor that is passed twice is one leaf. A module is recorded with twins of such objects, made of the same attributes with fakes in
place of tensors, and each call gives the objects themselves what their twins were given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_flatten_with_path

from tcomp.capture.objects import Change, is_plain_kind, is_shared
from tcomp.capture.refusals import ChangesState, EagerOnly
from tcomp.capture.state import PLAIN, State, is_same, is_users, list_values
from tcomp.structure import Filled, Item, Kept, Leaf, Made, Part, Structure, Unflattened, find_table, list_containers

BURNT_IN = (*PLAIN, slice, torch.Size)
"""Types of arguments that are what they say: a program serves equal ones only."""
_USUAL = frozenset({Tensor, nn.Parameter, nn.Buffer, *BURNT_IN})
_NUMBERED = 4096
"""Parts and leaves whose numbers are one object each: structures are compared at every call."""
_LEAVES = tuple(map(Leaf, range(_NUMBERED)))
_MADE = tuple(map(Made, range(_NUMBERED)))


def flatten_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], TreeSpec | Structure, tuple[Any, ...]]:
    """The tensors and other values of a call's arguments, how they make up the arguments, and the objects they are in, by their numbers.

    Objects are left whole if they, or what is in them, are more than attributes, lists, dictionaries and values.
    """
    leaves, spec = tree_flatten((args, kwargs))
    if not has_twice(leaves) and (_USUAL.issuperset(map(type, leaves)) or not any(is_plain_kind(type(leaf)) for leaf in leaves)):
        return leaves, spec, ()
    opener = _Opener()
    try:
        items = tuple([opener.find_item(leaf) if is_plain_kind(type(leaf)) else opener.add_leaf(leaf) for leaf in leaves])
    except _Closed:
        return leaves, spec, ()
    return opener.leaves, Structure(spec, items, tuple(opener.list_parts())), tuple(opener.wholes)


def describe_closed(value: Any) -> str:
    """The type of an argument, and what of it is the reason why it is not looked into."""
    name = type(value).__name__
    try:
        _Opener().find_item(value)
    except _Closed as error:
        return f"{name}{f', which holds {error}' if is_plain_kind(type(value)) else ''}"
    return name


def has_twice(leaves: Sequence[Any]) -> bool:
    """Whether a tensor is passed twice."""
    tensors = [id(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
    return len(set(tensors)) < len(tensors)


class _Closed(Exception):  # noqa: N818 (says what an object is)
    """An object cannot be made again from what it holds, because of a value of this type."""


class _Opener:
    def __init__(self) -> None:
        self.leaves: list[Any] = []
        self.wholes: list[Any] = []
        self._parts: list[Part | None] = []
        self._numbers: dict[int, int] = {}

    def list_parts(self) -> list[Part]:
        return [part for part in self._parts if part is not None]

    def add_leaf(self, value: Any) -> Leaf:
        index = len(self.leaves)
        if isinstance(value, Tensor):
            known = self._numbers.setdefault(id(value), index)
            if known != index:
                return _LEAVES[known]
        if index == _NUMBERED:
            raise _Closed("more than it can look at")
        self.leaves.append(value)
        return _LEAVES[index]

    def find_item(self, value: Any) -> Item:
        kind = type(value)
        if kind in _USUAL or isinstance(value, Tensor):
            return self.add_leaf(value)
        number = self._numbers.get(id(value))
        if number is None:
            if is_shared(value):
                return Kept(self._check_shared(value))
            number = self._numbers[id(value)] = len(self._parts)
            if number == _NUMBERED:
                raise _Closed("more than it can look at")
            self._parts.append(None)
            self.wholes.append(value)
            self._parts[number] = self._open(value, kind)
        elif self._parts[number] is None and not (kind in (list, dict) or is_plain_kind(kind)):
            raise _Closed(f"a {kind.__name__} in itself")
        return _MADE[number]

    def _open(self, value: Any, kind: type) -> Part:
        if kind is list:
            return Filled(list, (), tuple([self.find_item(item) for item in value]))
        if kind is dict or is_plain_kind(kind):
            table = find_table(value)
            if not all(isinstance(key, PLAIN) for key in table):
                raise _Closed("keys that are objects")
            return Filled(kind, tuple(table), tuple([self.find_item(item) for item in table.values()]))
        opened = iter((False,))
        leaves, spec = tree_flatten(value, is_leaf=lambda part: next(opened, True))
        if spec.is_leaf():
            raise _Closed(f"a {kind.__name__}")
        return Unflattened(spec, tuple([self.find_item(leaf) for leaf in leaves]))

    def _check_shared(self, value: Any) -> Any:
        """Functions that are made anew for every object would make a kind of arguments each."""
        if isinstance(value, FunctionType) and "<" in value.__qualname__:
            raise _Closed("a function made anew")
        return value


def name_leaf(index: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What the user calls a flattened argument."""
    passed = dict(kwargs)
    parameters = inspect.signature(forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    _, structure, _ = flatten_arguments(args, passed)
    paths = [path for path, _ in tree_flatten_with_path((args, passed))[0]]
    place, inner = index, ""
    if isinstance(structure, Structure):
        ways = [_find_path(item, index, structure, set()) for item in structure.items]
        place, inner = next((place, way) for place, way in enumerate(ways) if way is not None)
    root, first, *rest = paths[place]
    name = str(getattr(first, "key", ""))
    if getattr(root, "idx", None) == 0:
        position = getattr(first, "idx", 0)
        name = names[position] if position < len(names) else f"number {position}"
    return f"the argument {name}{''.join(map(str, rest))}{inner}"


def _find_path(item: Item, index: int, structure: Structure, seen: set[int]) -> str | None:
    """How a leaf is reached from an item, as Python writes it; None if it is not."""
    match item:
        case Leaf(number):
            return "" if number == index else None
        case Made(number) if number not in seen:
            seen.add(number)
            part = structure.parts[number]
            for place, inside in enumerate(part.items):
                path = _find_path(inside, index, structure, seen)
                if path is not None:
                    is_object = isinstance(part, Filled) and part.kind not in (list, dict)
                    key = part.keys[place] if isinstance(part, Filled) and part.keys else place
                    return f".{key}{path}" if is_object else f"[{key!r}]{path}"
    return None


_ACCESSES = ("__getattribute__", "__setattr__", "__delattr__")


class Twins:
    """Arguments with other leaves: objects among them are twins of those that were given."""

    def __init__(self, structure: TreeSpec | Structure, leaves: Sequence[Any]) -> None:
        self._structure = structure
        self._wholes: dict[int, Any] = {}
        self.arguments: Any = structure.build(leaves, self._wholes) if isinstance(structure, Structure) else structure.unflatten(leaves)
        self.numbers = {id(whole): number for number, whole in self._wholes.items()}
        """Numbers of the objects, by those of Python."""
        self._before = {number: _list_contents(whole) for number, whole in self._wholes.items()}
        self._kinds = {number: type(whole) for number, whole in self._wholes.items()}
        self._unread: set[tuple[int, Any]] = set()
        self._written: set[tuple[int, Any]] = set()
        self._told: set[str] = set()
        self._of_classes: dict[tuple[type, str], None] = {}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Note until left which attributes of objects are read and written, and which objects are told by their identity.

        Of objects with their own ways of reading and writing all attributes count as read. Only one may do so at a time.
        """
        kinds = {kind for kind in self._kinds.values() if is_plain_kind(kind)} - {SimpleNamespace}
        followed = [kind for kind in kinds if all(getattr(kind, name) is getattr(object, name) for name in _ACCESSES)]
        numbers, unread, written, of_classes = self.numbers, self._unread, self._written, self._of_classes
        for kind in kinds:
            bases = [base for base in kind.__mro__ if is_users(base.__module__)]
            names = [name for base in bases for name in (list_values(base) if kind in followed else vars(base))]
            of_classes.update({(kind, name): None for name in names})
        for number, whole in self._wholes.items():
            if type(whole) in followed:
                unread.update((number, name) for name in find_table(whole))

        def read(whole: Any, name: str) -> Any:
            number = numbers.get(id(whole))
            if number is not None:
                if name == "__dict__":
                    unread.difference_update([place for place in unread if place[0] == number])
                else:
                    unread.discard((number, name))
                    if name not in object.__getattribute__(whole, "__dict__"):
                        of_classes[type(whole), name] = None
            return object.__getattribute__(whole, name)

        def write(whole: Any, name: str, *value: Any) -> None:
            if id(whole) in numbers:
                written.add((numbers[id(whole)], name))
            (object.__setattr__ if value else object.__delattr__)(whole, name, *value)

        def make_note(usual: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def note(whole: Any) -> Any:
                if id(whole) in numbers:
                    self._told.add(type(whole).__name__)
                return usual(whole)

            return note

        noting: list[tuple[type, str, Callable[..., Any]]]
        noting = [(kind, name, note) for kind in followed for name, note in zip(_ACCESSES, (read, write, write), strict=True)]
        for name in ("__hash__", "__repr__"):
            usual = getattr(object, name)
            noting += [(kind, name, make_note(usual)) for kind in kinds if getattr(kind, name) is usual]
        for kind, name, function in noting:
            setattr(kind, name, function)
        try:
            yield
        finally:
            for kind, name, _ in noting:
                delattr(kind, name)

    def list_given(self) -> Mapping[int, int]:
        """What a result may hold as it is, by the numbers of Python: objects, and behind them the containers that arguments are in."""
        containers = list_containers(self.arguments)
        return self.numbers | {id(container): len(self._wholes) + place for place, container in enumerate(containers)}

    def list_class_reads(self) -> Collection[tuple[type, str]]:
        """What was read of objects and is not theirs, but of their classes."""
        return self._of_classes

    def refuse_others(self, wholes: Sequence[Any], state: State) -> None:
        """Raise EagerOnly where twins are not as good as the objects that were given: `wholes` are those, by their numbers."""
        met = [type(whole).__name__ for whole in wholes if not isinstance(whole, tuple) and state.is_lasting(whole)]
        alike = [kind.__name__ for kind in map(type, wholes) if is_plain_kind(kind) and state.has_kind([kind])]
        for names, why in (
            (met, "holds too"),
            (alike, "may compare with one that it holds"),
            (sorted(self._told), "tells by its identity"),
        ):
            if names:
                # Dynamo takes the answer for one object for that of all.
                raise EagerOnly(f"an argument of type {names[0]} that the module {why}", help="tell such objects by a value that they hold")

    def find_unread(self) -> set[int]:
        """The leaves that nobody looked at."""
        structure = self._structure
        if not self._unread or not isinstance(structure, Structure):
            return set()
        return structure.find_leaves(structure.items) - structure.find_leaves(structure.items, self._unread)

    def find_changes(self) -> list[Change]:
        """What has been assigned since they were made; raises ChangesState in containers that cannot be told it."""
        changes = []
        for number, whole in self._wholes.items():
            name, before, now = self._kinds[number].__name__, self._before[number], _list_contents(whole)
            if type(whole) is not self._kinds[number]:
                raise ChangesState(f"the module gives a {name} among its arguments another class while it runs")
            if isinstance(before, dict) and isinstance(now, dict):
                written = {key for owner, key in self._written if owner == number}
                change = _compare(number, name, before, now, written)
                if change is not None:
                    changes.append(change)
            elif len(now) != len(before) or not all(map(is_same, now, before)):
                if type(whole) is not list:
                    raise ChangesState(f"the module writes to a {name} among its arguments while it runs")
                changes.append(Change(number, name, (), (), tuple(now)))
        return changes


def _list_contents(whole: Any) -> Any:
    if type(whole) is list:
        return list(whole)
    if type(whole) is dict or is_plain_kind(type(whole)):
        return dict(find_table(whole))
    opened = iter((False,))
    leaves, spec = tree_flatten(whole, is_leaf=lambda part: next(opened, True))
    return [str(spec), *leaves]


def _compare(number: int, name: str, before: Mapping[Any, Any], now: Mapping[Any, Any], written: Collection[Any]) -> Change | None:
    """What changed, and what was written although it was the same before: at another call it need not be."""
    places = {key: place for place, key in enumerate(before)}
    last = -1
    moved: list[Any] = []
    for key in now:
        # What is assigned after it was deleted, or for the first time, stands at the end.
        if moved or places.get(key, -1) <= last:
            moved.append(key)
        else:
            last = places[key]
    removed = [key for key in before if key not in now or key in moved]
    new = {key: value for key, value in now.items() if key in moved or key in written or not is_same(value, before[key])}
    return Change(number, name, tuple(removed), tuple(new), tuple(new.values())) if removed or new else None
