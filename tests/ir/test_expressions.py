"""Walking, mapping and substituting in expressions."""

import pytest

from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import Load, as_index, constant, divide_exactly, load, print_expression
from tcomp.ir.parse.cascade import parse_expression, parse_index
from tcomp.ir.walk import loads, map_load_indices, map_loads, substitute, variables, walk

GATHER = parse_expression("f32(X[2*I[i] + j, k // N]) + (Y[i - 1] else 0.0) * f32[m % 3]")


def test_walking_reaches_the_loads_inside_indices():
    assert [found.tensor for found in loads(GATHER)] == ["X", "I", "Y"]
    assert [type(part).__name__ for part in walk(parse_expression("-X[i]"))] == ["Apply", "Load"]
    assert variables(GATHER) == {"i", "j", "k", "N", "m"}


def test_substitution_goes_into_values_and_quotients():
    moved = substitute(GATHER, {"i": parse_index("p + 1"), "k": parse_index("N*q"), "m": as_index(4)})
    assert print_expression(moved) == "f32(X[j + 2*I[p + 1], q]) + (Y[p] else 0.0) * f32[1]"


def test_substitution_is_of_all_variables_at_once():
    swapped = substitute(parse_expression("X[i, j]"), {"i": as_index("j"), "j": as_index("i")})
    assert print_expression(swapped) == "X[j, i]"


def test_mapping_loads_works_outside_in():
    def change(found):
        if found.tensor == "I":
            return parse_expression("J[i + 1]")
        inner = map_load_indices(found, change)
        return Load(inner.tensor + "2", inner.index, inner.outside)

    assert print_expression(map_loads(GATHER, change)) == "f32(X2[j + 2*J[i + 1], k // N]) + (Y2[i - 1] else 0.0) * f32[m % 3]"


def test_mapping_that_changes_nothing_returns_the_same_object():
    assert map_loads(GATHER, lambda found: found) is GATHER


def test_a_load_replaced_by_a_literal_becomes_a_plain_index():
    change = {"I": parse_expression("7")}
    inner = map_loads(
        parse_expression("X[I[i] + 1]"), lambda found: map_load_indices(found, lambda part: change.get(part.tensor, part))
    )
    assert print_expression(inner) == "X[8]"


def test_literals_are_made_of_the_dtype_s_kind():
    assert repr(constant(2, f32).value) == "2.0"
    assert constant(float("nan"), f32) == constant(-float("nan"), f32)
    assert len({constant(0.0, f32), constant(-0.0, f32)}) == 2
    assert load("X", "i", 2, as_index("N") - 1) == parse_expression("X[i, 2, N - 1]")


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [
        ("4*i + 8", "4", "i + 2"),
        ("4*i + 6", "4", None),
        ("N*i + 2*N", "N", "i + 2"),
        ("N*i + 2", "N", None),
        ("6*N*i", "2*N", "3*i"),
        ("i + N", "i + N", "1"),
        ("i + N", "N + 1", None),
        ("0", "N", "0"),
    ],
)
def test_exact_division(dividend, divisor, quotient):
    found = divide_exactly(parse_index(dividend), parse_index(divisor))
    assert (None if found is None else str(found)) == quotient
