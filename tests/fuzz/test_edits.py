"""Edits that keep what a cascade means, and sizes as symbols."""

import itertools
from dataclasses import replace

import numpy
import pytest

from tcomp.fuzz.edits import fix_size, name_size, resize
from tcomp.fuzz.oracles.cascade import describe_invalid, examine, make_inputs
from tcomp.fuzz.reducer import list_smaller
from tcomp.ir.cascade import Symbol
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tests.fuzz.oracles.test_cascade import QUICK, SEED
from tests.fuzz.test_seed import make_seeds

FLAT = parse_cascade("cascade c(X: f32[5, 3], weight W: f32[5]) -> (Y) { Y: f32[i:15] = X[4 - i // 3, i % 3] * W[(i + 6) % 5] }")


def test_a_size_as_a_symbol():
    named = name_size(FLAT, 5, Symbol("N", 2, 9), everywhere=True)
    assert str(named) == (
        "cascade c(X: f32[N, 3], W: f32[N]) -> (Y) for N in 2..9 {\n"
        "  Y: f32[i:3*N] = X[N - i // 3 - 1, i % 3] * W[(N + i + 1) % N]\n}"
    )
    assert name_size(FLAT, 5, Symbol("N"), everywhere=False).statements == FLAT.statements
    assert fix_size(named, "N", 5) == replace(FLAT, inputs=tuple(replace(t, weight=False) for t in FLAT.inputs))


@pytest.mark.parametrize("first", range(300, 320, 5))
def test_a_symbol_that_has_its_size_means_the_same(first):
    """Whatever number was taken for the size, or was not."""
    for seed in make_seeds(5, first):
        cascade, known = seed.cascade, dict(seed.sizes)
        sizes = {extent.constant for t in cascade.inputs for extent in t.shape if extent.is_constant and extent.constant > 0}
        inputs = make_inputs(cascade, 1, known)
        want = evaluate(cascade, inputs, known, float64=True)
        for size, everywhere in itertools.product(sizes, (False, True)):
            named = name_size(cascade, size, Symbol("Q"), everywhere=everywhere and size > 1)
            got = evaluate(named, inputs, known | {"Q": size}, float64=True)
            for name in cascade.outputs:
                numpy.testing.assert_array_equal(got[name], want[name])


def test_what_is_right_for_one_size_alone_is_invalid():
    """A program may be called with all sizes that its cascade says."""
    cascade = parse_cascade("cascade c(X: f32[4]) -> (Y) for N in 1.. { Y: f32[i:N] = X[i] }")
    assert "reads" in describe_invalid(replace(SEED, cascade=cascade, passes=(), sizes=(("N", 4),)))
    bounded = replace(cascade, symbols=(Symbol("N", 1, 4),))
    assert not describe_invalid(replace(SEED, cascade=bounded, passes=(), sizes=(("N", 4),)))


def test_a_seed_with_symbols_is_examined_and_reduced():
    seed = replace(SEED, cascade=name_size(SEED.cascade, 8, Symbol("N"), everywhere=True), sizes=(("N", 13),))
    assert not describe_invalid(seed)
    assert examine(seed, QUICK)[0] is None
    smaller = list(list_smaller(seed))
    assert smaller[0].cascade == resize(SEED.cascade, 8, 13) and smaller[0].sizes == ()
    assert any(candidate.sizes == (("N", 1),) for candidate in smaller)
