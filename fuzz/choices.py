"""Where generators and mutators take their choices from: random numbers here, and in tests whatever shrinks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Choices(Protocol):
    """A source of choices. Everything random is asked of one, so that a program follows from the choices that were made."""

    def integer(self, low: int, high: int) -> int:
        """An integer of low..high, both included."""

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, of which there is at least one."""

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """The items in some order."""


class RandomChoices:
    """Choices that follow from a number, the same on every machine."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        """An integer of low..high, both included."""
        return self._random.randint(low, high)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self._random.randrange(len(items))]

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """The items in some order."""
        return self._random.sample(items, len(items))


def chance(choices: Choices, times: int, of: int) -> bool:
    """True so many times of so many."""
    return choices.integer(1, of) <= times
