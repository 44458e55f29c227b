"""A quick way to tell whether the same objects are in the same places: loops inside the interpreter's own functions, 0.06 us a place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from operator import getitem, is_
from typing import Any


class Watch:
    """Places (a dictionary or list, and a key), what was in them, and how long some containers were."""

    __slots__ = ("_containers", "_holders", "_keys", "_lengths", "_members")

    def __init__(self, places: Iterable[tuple[Any, Any]] = (), containers: Iterable[Sized] = ()) -> None:
        self._holders: list[Any] = []
        self._keys: list[Any] = []
        self._members: list[Any] = []
        self._containers = list(containers)
        self._lengths = list(map(len, self._containers))
        for holder, key in places:
            self.add(holder, key)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, holder: Any, key: Any) -> Any:
        """Watch one more place; returns what is there."""
        member = holder[key]
        self._holders.append(holder)
        self._keys.append(key)
        self._members.append(member)
        return member

    def add_container(self, container: Sized) -> None:
        """Watch how long a container is."""
        self._containers.append(container)
        self._lengths.append(len(container))

    def joined(self, other: Watch) -> Watch:
        """What both watch, as it was for each; what both do, once."""
        both = Watch()
        places = dict(zip(zip(map(id, self._holders), self._keys), zip(self._holders, self._members)))
        for holder, key, member in zip(other._holders, other._keys, other._members):
            places.setdefault((id(holder), key), (holder, member))
        for (_, key), (holder, member) in places.items():
            both._holders.append(holder)
            both._keys.append(key)
            both._members.append(member)
        both._containers, both._lengths = self._containers + other._containers, self._lengths + other._lengths
        return both

    def make_check(self) -> Callable[[], bool]:
        """A function that tells whether the same objects are in all places, and all containers are as long as they were."""
        holders, keys, members = self._holders, self._keys, self._members
        containers, lengths = self._containers, self._lengths

        def is_current() -> bool:
            try:
                return all(map(is_, map(getitem, holders, keys), members)) and list(map(len, containers)) == lengths
            except LookupError:
                return False

        return is_current
