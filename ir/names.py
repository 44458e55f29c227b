"""Names that are not taken yet, in the ways in which names are made from others."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import count


def fresh(base: str, taken: set[str]) -> str:
    """The first of base, base2, base3, ... that is not taken; it is from now on."""
    return take(counted(base), taken)


def take(names: Iterator[str], taken: set[str]) -> str:
    """The first of some names that is not taken; it is from now on."""
    name = first_free(names, taken)
    taken.add(name)
    return name


def first_free(names: Iterator[str], *taken: Container[str]) -> str:
    """The first of some names that none of the containers has."""
    return next(name for name in names if not any(name in each for each in taken))


def counted(base: str, separator: str = "", start: int = 2) -> Iterator[str]:
    """x, x2, x3, ..."""
    yield base
    yield from numbered(base, separator, start)


def numbered(base: str, separator: str = ".", start: int = 1) -> Iterator[str]:
    """x.1, x.2, ..."""
    return (f"{base}{separator}{number}" for number in count(start))


def lengthened(base: str) -> Iterator[str]:
    """i, ix, ixx, ...: names of ranks, whose numbers would look like those of their tiles."""
    return (base + "x" * number for number in count())
