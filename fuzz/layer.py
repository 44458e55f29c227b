"""A layer: one kind of seed, and all that a campaign asks of it. `layers/table.py` is the table of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tcomp.fuzz.choices import Choices
from tcomp.fuzz.finding import Finding

Features = frozenset[str]


@dataclass(frozen=True)
class Layer:
    """Functions over one type of seed, whose `str` is its text."""

    name: str
    word: str
    """What every text of it begins with."""
    weight: int
    """How often a seed is made of it, beside the others: what takes long is made seldom."""
    parse: Callable[[str], Any]
    """The seed of a text. Raises ParseError."""
    make: Callable[[Choices], Any]
    """A random seed, or None where it came out too large."""
    domains: Mapping[str, Callable[[Choices, Any], Any]]
    """What may be changed in a seed, each as a function that gives another one."""
    describe_invalid: Callable[[Any], str]
    """Why nothing follows from a seed, or empty."""
    examine: Callable[[Any, bool, tuple[str, ...]], tuple[Finding | None, Features]]
    """What is wrong with a seed, and what it did; with slow oracles too, if the second argument says so, and with those that are named."""
    list_smaller: Callable[[Any], Iterator[Any]]
    """Seeds a step smaller."""
    print_script: Callable[[Any, str, str], str]
    """A script that reproduces a seed's failure, given its bucket and what is wrong."""
