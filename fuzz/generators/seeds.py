"""Random seeds: a cascade, some of whose sizes may be symbols, a machine and a list of passes."""

from __future__ import annotations

from dataclasses import replace

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.edits import name_size
from tcomp.fuzz.generators.cascades import KINDS, MOST_POINTS, count_points, make_cascade, make_product
from tcomp.fuzz.generators.idioms import IDIOMS
from tcomp.fuzz.generators.machines import make_target
from tcomp.fuzz.generators.rules import PATTERNS
from tcomp.fuzz.generators.types import TYPED, make_inputs_of_types
from tcomp.fuzz.seed import Seed
from tcomp.ir.cascade import Cascade, Symbol
from tcomp.passes.pipeline import PIPELINE

REWRITES = tuple(dict.fromkeys(row.name for row in PIPELINE if row.on == "cascade"))
"""The passes that map a cascade to a cascade."""
MOST_PASSES = 5
LARGEST_NUMBER = 1 << 30
SYMBOLS = ("N", "M")
SMALLEST = 3
"""Sizes to here are not looked for inside indices: most of what would be found is a number of its own."""
SIZES = (1, 2, 3, 5, 8, 13, 17, 33)
"""Of symbols, besides those that stood in their places."""


def make_seed(choices: Choices) -> Seed | None:
    """A seed of all kinds of statements. None if its cascade came out too large."""
    cascade = make_any_cascade(choices)
    if cascade is None:
        return None
    passes = make_passes(choices)
    seed = Seed(cascade, make_target(choices), choices.integer(0, LARGEST_NUMBER), chance(choices, 1, 4), passes)
    for _ in range(choices.pick([0, 0, 0, 0, 1, 2])):
        seed = change_sizes(choices, seed)
    return seed


def change_sizes(choices: Choices, seed: Seed) -> Seed:
    """The seed with a symbol in place of one size of its cascade, or another size for a symbol."""
    sizes = sorted({extent.constant for t in seed.cascade.inputs for extent in t.shape if extent.is_constant and extent.constant > 0})
    names = [name for name in SYMBOLS if name not in dict(seed.sizes)]
    if not names or not sizes or (seed.sizes and chance(choices, 1, 2)):
        return _resize_symbol(choices, seed) if seed.sizes else seed
    size = choices.pick(sizes)
    symbol = Symbol(names[0], choices.pick((1, min(2, size), size)), choices.pick((None, None, size, 64 + size)))
    cascade = name_size(seed.cascade, size, symbol, everywhere=size > SMALLEST and chance(choices, 3, 4))
    named = replace(seed, cascade=cascade, sizes=(*seed.sizes, (symbol.name, size)), schedule=None)
    return _resize_symbol(choices, named) if chance(choices, 1, 2) else named


def _resize_symbol(choices: Choices, seed: Seed) -> Seed:
    chosen = choices.pick([symbol for symbol in seed.cascade.symbols if symbol.name in dict(seed.sizes)])
    fitting = [size for size in SIZES if chosen.low <= size and (chosen.high is None or size <= chosen.high)]
    sizes = dict(seed.sizes) | ({chosen.name: choices.pick(fitting)} if fitting else {})
    return replace(seed, sizes=tuple(sizes.items()))


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
