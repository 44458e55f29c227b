"""Hypothesis strategies that make the choices of `tcomp.fuzz.mutators.schedules`, so that what fails shrinks."""

from hypothesis import strategies

from tcomp.fuzz.mutators.schedules import edit_schedule
from tests.cascade_strategies import DrawnChoices


@strategies.composite
def mutated(draw, guessed):
    """A guessed schedule with a few random edits."""
    return edit_schedule(DrawnChoices(draw), guessed)
