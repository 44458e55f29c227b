"""The index algebra, on random indices: simplification keeps values, proofs are true, substitution composes."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_strategies import indices

from tcomp.ir.expressions import ONE, ZERO, Quotient, Remainder, Variable, as_index, atom_index, load, print_expression, print_index
from tcomp.ir.index import Bounds, interval, is_below, is_inside, largest, pair_of, simplify_index, simplify_indices
from tcomp.ir.parse.cascade import parse_expression, parse_index
from tcomp.ir.walk import substitute_index, value_index

RANKS = ("i", "j", "k")
LEAVES = st.integers(-8, 8).map(as_index) | st.sampled_from([*RANKS, "N"]).map(as_index)
EXTENTS = st.tuples(*[st.integers(1, 9) | st.just("N") for _ in RANKS])
SYMBOL = (1, 6)


def value(index, point):
    """The number an index stands for, by the definition in Python's own integers."""
    total = index.constant
    for monomial, coefficient in index.terms:
        product = coefficient
        for atom in monomial:
            match atom:
                case Variable(name):
                    product *= point[name]
                case Quotient(a, b):
                    product *= value(a, point) // value(b, point)
                case Remainder(a, b):
                    product *= value(a, point) % value(b, point)
        total += product
    return total


def points(extents):
    """All points of the space, N included, thinned to some three hundred."""
    found = []
    for n in range(SYMBOL[0], SYMBOL[1] + 1):
        sizes = [n if extent == "N" else extent for extent in extents]
        found += [dict(zip(RANKS, place), N=n) for place in itertools.product(*map(range, sizes))]
    return found[:: len(found) // 300 + 1]


def make_bounds(extents):
    return Bounds({name: as_index(extent) for name, extent in zip(RANKS, extents)}, {"N": SYMBOL})


@settings(max_examples=400, deadline=None)
@given(indices(LEAVES), EXTENTS)
def test_simplification_keeps_the_value_at_every_point(index, extents):
    simple = simplify_index(index, make_bounds(extents))
    for point in points(extents):
        assert value(simple, point) == value(index, point), (str(index), str(simple), point)


@settings(max_examples=200, deadline=None)
@given(indices(LEAVES), EXTENTS)
def test_simplification_of_a_simplified_index_keeps_the_value_and_prints_back(index, extents):
    simple = simplify_index(index, make_bounds(extents))
    again = simplify_index(simple, make_bounds(extents))
    assert parse_index(str(simple)) == simple
    for point in points(extents)[::7]:
        assert value(again, point) == value(index, point)


@settings(max_examples=400, deadline=None)
@given(indices(LEAVES), EXTENTS)
def test_an_interval_contains_every_value(index, extents):
    low, high = interval(index, make_bounds(extents))
    for point in points(extents):
        assert low is None or low <= value(index, point)
        assert high is None or value(index, point) <= high


@settings(max_examples=400, deadline=None)
@given(indices(LEAVES), indices(LEAVES), EXTENTS)
def test_what_is_proved_inside_is_inside(index, limit, extents):
    bounds = make_bounds(extents)
    inside, below = is_inside(index, limit, bounds), is_below(index, limit, bounds)
    for point in points(extents):
        assert not inside or 0 <= value(index, point) < value(limit, point), (str(index), str(limit), point)
        assert not below or value(index, point) < value(limit, point), (str(index), str(limit), point)


@settings(max_examples=300, deadline=None)
@given(indices(LEAVES), EXTENTS)
def test_the_symbolic_upper_bound_is_one(index, extents):
    top = largest(index, make_bounds(extents))
    for point in points(extents):
        assert top is None or value(index, point) <= value(top, point), (str(index), str(top), point)


@settings(max_examples=300, deadline=None)
@given(indices(LEAVES), indices(LEAVES, symbolic=False), indices(LEAVES, symbolic=False), EXTENTS)
def test_substitution_composes(index, first, second, extents):
    inner = {"i": first}
    outer = {"j": second, "k": as_index(3)}
    both = {"i": substitute_index(first, outer), "j": second, "k": as_index(3)}
    once = substitute_index(index, both)
    for point in points(extents)[::11]:
        moved = point | {"j": value(second, point), "k": 3}
        expected = value(index, moved | {"i": value(first, moved)})
        assert value(once, point) == expected
        assert value(substitute_index(substitute_index(index, inner), outer), point) == expected


@settings(max_examples=300, deadline=None)
@given(indices(LEAVES), indices(LEAVES), indices(LEAVES))
def test_polynomials_have_one_form(a, b, c):
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a + b) * c == a * c + b * c
    assert (a * b) * c == a * (b * c)
    assert a - a == ZERO
    assert a * 1 == a == a + 0
    assert hash(a + b) == hash(b + a)
    assert all(coefficient for _, coefficient in (a * b + c).terms)


@settings(max_examples=200, deadline=None)
@given(indices(LEAVES))
def test_an_index_prints_back(index):
    assert parse_index(str(index)) == index


FOUR = Bounds({"i": as_index(5), "j": as_index(4), "n": as_index("N")}, {"N": (1, None), "M": (1, None)})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(4*i + j) // 4", "i"),
        ("(4*i + j) % 4", "j"),
        ("(4*i + j) // 8", "i // 2"),
        ("(4*i + j) % 8", "4*(i % 2) + j"),
        ("(n // 3) // 5", "n // 15"),
        ("(n % 15) % 5", "n % 5"),
        ("(n % 15) // 5", "(n // 5) % 3"),
        ("4*(n // 4) + n % 4", "n"),
        ("i // 5", "0"),
        ("i % 5", "i"),
        ("(i + 5) % 5", "i"),
        ("(N*i + n) // N", "i"),
        ("(N*i + n) % N", "n"),
        ("(i - 1) // 5", "(i + 4) // 5 - 1"),
        ("(N*M*i + N*j + n) // N % M", "j % M"),
    ],
)
def test_known_simplifications(before, after):
    assert str(simplify_index(parse_index(before), FOUR)) == str(parse_index(after))


@pytest.mark.parametrize(
    ("index", "extent", "inside"),
    [
        ("i", "5", True),
        ("i", "4", False),
        ("i - 1", "5", False),
        ("n", "N", True),
        ("n + 1", "N", False),
        ("n + 1", "N + 1", True),
        ("N*i + n", "5*N", True),
        ("N*i + n", "4*N", False),
        ("n % 4", "4", True),
        ("n // 4", "N", False),
        ("value(X[i] + 1)", "100", False),
    ],
)
def test_known_proofs(index, extent, inside):
    assert is_inside(parse_index(index), parse_index(extent), FOUR) is inside


def test_an_outside_value_and_a_gather_stay_through_simplification():
    expression = parse_expression("(X[(4*i + j) // 4, 2*I[(4*i + j) % 4]] else 0) + f32[(i + 5) % 5]")
    assert print_expression(simplify_indices(expression, FOUR)) == "(X[i, 2*I[j]] else 0) + f32[i]"


def test_an_index_that_needs_nothing_is_the_same_object():
    index = parse_index("2*i + j - 1")
    assert simplify_index(index, FOUR) is index
    expression = load("X", index)
    assert simplify_indices(expression, FOUR) is expression


def test_division_by_what_is_equal_is_one():
    index = parse_index("i + N")
    assert index // index == ONE
    assert index % index == ZERO
    assert as_index(7) // 2 == as_index(3)
    assert as_index(-7) // 2 == as_index(-4)
    assert as_index(-7) % 2 == ONE


def test_a_value_that_is_an_index_becomes_that_index():
    assert value_index(parse_expression("i64[i + 1]")) == parse_index("i + 1")
    assert value_index(parse_expression("3")) == as_index(3)
    assert atom_index(Variable("i")) == as_index("i")


@pytest.mark.parametrize(
    ("index", "pair"),
    [
        (as_index(0), ("0", 0)),
        (as_index(5), ("2", 1)),
        (as_index("i") * 2, ("i", 0)),
        (as_index("i") * 4 + as_index("j") * 2 + 3, ("2*i + j + 1", 1)),
        (as_index("i") * 2 - 1, ("i - 1", 1)),
        (as_index("i"), None),
        (as_index("i") * 2 + as_index("j"), None),
    ],
)
def test_pair_of(index, pair):
    found = pair_of(index)
    assert (None if found is None else (print_index(found[0]), found[1])) == pair
