"""Random seeds: a cascade, a machine and a list of passes."""

from __future__ import annotations

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.generators.cascades import KINDS, MOST_POINTS, count_points, make_cascade, make_product
from tcomp.fuzz.generators.idioms import IDIOMS
from tcomp.fuzz.generators.machines import make_target
from tcomp.fuzz.generators.rules import PATTERNS
from tcomp.fuzz.generators.types import TYPED, make_inputs_of_types
from tcomp.fuzz.seed import Seed
from tcomp.ir.cascade import Cascade
from tcomp.passes.pipeline import PIPELINE

REWRITES = tuple(dict.fromkeys(row.name for row in PIPELINE if row.on == "cascade"))
"""The passes that map a cascade to a cascade."""
MOST_PASSES = 5
LARGEST_NUMBER = 1 << 30


def make_seed(choices: Choices) -> Seed | None:
    """A seed of all kinds of statements. None if its cascade came out too large."""
    cascade = make_any_cascade(choices)
    if cascade is None:
        return None
    passes = make_passes(choices)
    return Seed(cascade, make_target(choices), choices.integer(0, LARGEST_NUMBER), chance(choices, 1, 4), passes)


def make_any_cascade(choices: Choices) -> Cascade | None:
    """A cascade of any kind. None if it came out too large."""
    if chance(choices, 1, 8):
        product = make_product(choices)
        return product if count_points(product) <= MOST_POINTS else None
    kinds = choices.pick([KINDS, IDIOMS, IDIOMS, TYPED, PATTERNS, (*KINDS[::4], *IDIOMS, *TYPED[::2], *PATTERNS * 2)])
    return make_cascade(choices, choices.pick([1, 2, 4, 6]), kinds, make_inputs_of_types(choices))


def make_passes(choices: Choices) -> tuple[str, ...]:
    """Passes in any order, some of them more than once."""
    return tuple(choices.pick(REWRITES) for _ in range(choices.integer(0, MOST_PASSES)))
