"""How a campaign searches, as data: what it changes, whether it goes on from what reached something new, and what it asks of a seed.

`joint` is ours; the others are what earlier fuzzers of tensor compilers do, in the same harness, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tcomp.fuzz.mutators.seeds import DOMAINS

FIRST = 64
"""Seeds that are made anew before any is changed."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to search."""

    name: str
    what: str
    domains: tuple[str, ...]
    """What may be changed in a seed, as in `tcomp.fuzz.mutators.seeds.DOMAINS`."""
    has_corpus: bool = True
    """Whether seeds that reached something new are changed; else all are new."""
    oracles: tuple[str, ...] = ()
    """What is asked, by name; all if none is named."""
    barren: int = 0
    """After so many seeds in a row that reached nothing new, the second domain is taken once instead of the first; 0: by success."""
    first: int = FIRST


FINAL = ("passes", "tiles", "C")
"""Oracles that look at results alone, of the seed's passes and of the compiler: no stage in between is verified or evaluated."""

STRATEGIES: Mapping[str, Strategy] = {
    row.name: row
    for row in (
        Strategy("joint", "cascades, passes, machines and schedules, changed by what pays", tuple(DOMAINS)),
        Strategy("random", "new programs only, with all oracles", ("new",), has_corpus=False),
        # Liu and others, "Coverage-guided tensor compiler fuzzing with joint IR-pass mutation", OOPSLA 2022.
        Strategy("tzer", "cascades by coverage, passes where that is barren; results", ("cascade", "passes"), oracles=FINAL, barren=4),
        # Liu and others, "NNSmith: generating diverse and valid test cases for deep learning compilers", ASPLOS 2023.
        Strategy("nnsmith", "new programs only; results", ("new",), has_corpus=False, oracles=("tiles", "C")),
    )
}
"""Every strategy by its name."""
JOINT = STRATEGIES["joint"]
