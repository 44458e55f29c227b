"""Indices and conditions over symbols, as functions of their values."""

import pytest
import sympy
import torch

import tcomp
from tcomp.ir.expressions import as_index
from tcomp.program.sizes import make_evaluator, make_predicate, read_condition, spec_of

N, M = as_index("s0"), as_index("s1.x")


@pytest.mark.parametrize(
    ("index", "value"),
    [(N + M, 12), (N * M * 2 - 3, 67), (N // 2 + M % 4, 5), (-(N // 2), -2), ((N + 1) * (M - 1), 36), (as_index(4), 4)],
    ids=str,
)
def test_indices_are_evaluated(index, value):
    assert make_evaluator(("s0", "s1.x"), (index, N))((5, 7)) == (value, 5)


def test_constants_need_no_symbols():
    assert make_evaluator((), (as_index(3), as_index(4)))(()) == (3, 4)


s0, s1 = sympy.symbols("s0 s1", integer=True, positive=True)


@pytest.mark.parametrize(
    "guard",
    [sympy.Eq(s0, s1), sympy.Ne(s0 * 2, s1), s0 < s1 + 3, s0 <= 4, s0 > s1, s0 >= 2 * s1, sympy.And(s0 > 2, s1 < 5),
     sympy.Or(s0 > 6, sympy.Eq(s1, 3)), sympy.Not(sympy.And(s0 > 2, s1 > 2), evaluate=False)],
    ids=str,
)  # fmt: skip
def test_conditions_hold_where_sympy_says(guard):
    holds = make_predicate(("s0", "s1"), (read_condition(guard),))
    for values in ((1, 1), (2, 3), (4, 2), (7, 3), (6, 3)):
        assert holds(values) == bool(guard.subs({s0: values[0], s1: values[1]}))


def test_a_condition_without_a_form_is_refused():
    with pytest.raises(tcomp.Unsupported, match="symbolic sizes"):
        read_condition(sympy.Xor(s0 > 2, s1 > 2))


def test_no_conditions_always_hold():
    assert make_predicate((), ())(())


def test_specs_tell_strides():
    spec = spec_of(torch.empty(2, 3).t())
    assert spec.shape == (as_index(3), as_index(2))
    assert spec.strides == (as_index(1), as_index(3))
    assert spec.is_static
