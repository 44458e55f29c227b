"""A quick way to tell whether the same objects are in the same places.

For few places a function is written that has no loop: 0.02 us a place, but it takes longer to compile than many are worth. Of many,
the dictionaries that hold them are asked for their versions, which the interpreter (or PyTorch) changes with every write: 0.05 us a
dictionary, which has two or three places, and one miss of the cache each instead of one for every table of keys. Only if a version
has changed the places are compared, by loops inside the interpreter's own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from operator import getitem, is_
from typing import Any

from torch._C._dynamo.guards import dict_version

MOST_SPELT = 64
"""Places and containers for which a function without a loop is written: in 2 ms."""


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

    @property
    def members(self) -> Sequence[Any]:
        """What was in the places."""
        return self._members

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
        if len(keys) + len(lengths) <= MOST_SPELT and all(type(key) in (str, int) for key in keys):
            return _spell_check(holders, keys, members, containers, lengths)

        return _compare_versions(holders, keys, members, containers, lengths)


def _compare_versions(
    holders: Sequence[Any], keys: Sequence[Any], members: Sequence[Any], containers: Sequence[Sized], lengths: Sequence[int]
) -> Callable[[], bool]:
    tables = list({id(table): table for table in (*holders, *containers) if type(table) is dict}.values())
    others = [(holder, key, member) for holder, key, member in zip(holders, keys, members) if type(holder) is not dict]
    other_holders, other_keys, other_members = map(list, zip(*others)) if others else ([], [], [])
    other_containers = [container for container in containers if type(container) is not dict]
    other_lengths = [length for container, length in zip(containers, lengths) if type(container) is not dict]
    # Something may have been written since the places were looked at: none is trusted before it has been compared once.
    known: list[int] = []

    def is_current() -> bool:
        nonlocal known
        try:
            # First, as what another thread writes meanwhile must be seen at the next call.
            versions = list(map(dict_version, tables))
            if versions == known:
                return (
                    all(map(is_, map(getitem, other_holders, other_keys), other_members))
                    and list(map(len, other_containers)) == other_lengths
                )
            if not all(map(is_, map(getitem, holders, keys), members)) or list(map(len, containers)) != lengths:
                return False
        except LookupError:
            return False
        known = versions
        return True

    return is_current


def _spell_check(
    holders: Sequence[Any], keys: Sequence[str | int], members: Sequence[Any], containers: Sequence[Sized], lengths: Sequence[int]
) -> Callable[[], bool]:
    tests = [f"holder{number}[{key!r}] is member{number}" for number, key in enumerate(keys)]
    tests += [f"len(container{number}) == {length}" for number, length in enumerate(lengths)]
    names = [f"{name}{number}" for name, of in (("holder", keys), ("member", keys), ("container", lengths)) for number, _ in enumerate(of)]
    text = f"""
def make({", ".join(names)}):
    def is_current():
        try:
            return {" and ".join(tests) or "True"}
        except LookupError:
            return False
    return is_current
"""
    scope: dict[str, Any] = {}
    exec(text, scope)
    check: Callable[[], bool] = scope["make"](*holders, *members, *containers)
    return check
