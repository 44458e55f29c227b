"""What changes a seed: its cascade, which sizes are symbols, its passes, the machine, the numbers, or its schedule.

`DOMAINS` is the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.generators.machines import make_target
from tcomp.fuzz.generators.seeds import LARGEST_NUMBER, MOST_PASSES, REWRITES, change_sizes, make_seed
from tcomp.fuzz.mutators.cascades import mutate
from tcomp.fuzz.mutators.schedules import edit_schedule
from tcomp.fuzz.seed import Seed
from tcomp.passes.pipeline import guess

MOST_CHANGES = 4
"""To a cascade, before it is tried."""


def change_cascade(choices: Choices, seed: Seed) -> Seed:
    """A few changes to the cascade; a schedule would be one for another cascade."""
    cascade = seed.cascade
    for _ in range(choices.integer(1, MOST_CHANGES)):
        cascade = mutate(choices, cascade)
    return replace(seed, cascade=cascade, schedule=None)


def change_passes(choices: Choices, seed: Seed) -> Seed:
    """A pass more, less, twice, or two exchanged."""
    passes = list(seed.passes)
    place = choices.integer(0, len(passes))
    match choices.pick(["insert", "delete", "repeat", "shuffle"] if passes else ["insert"]):
        case "insert":
            passes.insert(place, choices.pick(REWRITES))
        case "delete":
            del passes[min(place, len(passes) - 1)]
        case "repeat":
            passes.insert(place, passes[min(place, len(passes) - 1)])
        case "shuffle":
            passes = choices.shuffle(passes)
    return replace(seed, passes=tuple(passes[: 2 * MOST_PASSES]))


def change_machine(choices: Choices, seed: Seed) -> Seed:
    """Another machine, and now and then the other numerics."""
    return replace(seed, target=make_target(choices), strict=seed.strict != chance(choices, 1, 4), schedule=None)


def change_numbers(choices: Choices, seed: Seed) -> Seed:
    """Other numbers in the inputs."""
    return replace(seed, numbers=choices.integer(0, LARGEST_NUMBER))


def change_schedule(choices: Choices, seed: Seed) -> Seed:
    """The guessed schedule, edited here and there."""
    guessed = guess(seed.cascade, seed.target, strict=seed.strict)
    return replace(seed, passes=(), schedule=edit_schedule(choices, guessed))


def start_anew(choices: Choices, seed: Seed) -> Seed:
    """A seed that has nothing of this one."""
    return make_seed(choices) or seed


DOMAINS: Mapping[str, Callable[[Choices, Seed], Seed]] = {
    "cascade": change_cascade,
    "passes": change_passes,
    "machine": change_machine,
    "schedule": change_schedule,
    "numbers": change_numbers,
    "sizes": change_sizes,
    "new": start_anew,
}
