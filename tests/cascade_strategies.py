"""Hypothesis strategies that make the choices of `tcomp.fuzz.generators`, so that what fails shrinks."""

from hypothesis import assume, strategies

from tcomp.fuzz.generators.cascades import KINDS, make_cascade, make_pairs, make_product, make_scatter
from tcomp.fuzz.generators.machines import make_cpu


class DrawnChoices:
    """Choices that Hypothesis makes, by its `draw`."""

    def __init__(self, draw):
        self.draw = draw

    def integer(self, low, high):
        return self.draw(strategies.integers(low, high))

    def pick(self, items):
        return self.draw(strategies.sampled_from(items))

    def shuffle(self, items):
        return self.draw(strategies.permutations(items))


@strategies.composite
def programs(draw, largest=6, kinds=KINDS):
    """Cascades that verify, over f32 inputs, weights and one tensor of indices in 0..3."""
    cascade = make_cascade(DrawnChoices(draw), largest, kinds)
    assume(cascade is not None)
    return cascade


@strategies.composite
def products(draw):
    """A sum of products of two tensors, with shared ranks, several ranks of rows, either operand turned, and a map of the result."""
    return make_product(DrawnChoices(draw))


@strategies.composite
def machines(draw):
    """CPUs for which small cascades need every kind of schedule: caches that hold some of their tensors, or all, or none."""
    return make_cpu(DrawnChoices(draw))


scatters, pairs = make_scatter, make_pairs
"""Kinds of statements, for tests that want some more often."""
