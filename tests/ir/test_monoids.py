"""Monoids are monoids: merge is associative, identity is neutral, and folding gives what numpy gives."""

import itertools

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.check.tile import check_kernel
from tcomp.ir.dtypes import bf16, boolean, f32, f64, i8, i32, i64, u8
from tcomp.ir.evaluate.arrays import storage
from tcomp.ir.evaluate.monoids import fold_groups, fold_last_axis, identity_state, lift_state, merge_states
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.expressions import Load, as_index, print_expression
from tcomp.ir.monoids import MONOIDS, position_of
from tcomp.ir.operators import OPERATORS, TYPE_KINDS
from tcomp.ir.tile import Argument, Assign, Axis, Kernel
from tcomp.ir.walk import loads

VALUES = {
    "float": [0.0, -1.5, 2.0, 2.0, numpy.nan, numpy.inf, -numpy.inf, 300.25],
    "int": [0, 1, 2, 2, 7, 3, 100],
    "bool": [True, False],
}
CASES = [
    (monoid, dtype)
    for monoid in MONOIDS.values()
    for dtype in (f64, f32, bf16, i64, i8, u8, boolean)
    if dtype.kind in TYPE_KINDS[monoid.types]
]


def states(monoid, dtype):
    """The states of single values at positions 0, 1, ..., and of nothing."""
    values = numpy.array(VALUES[dtype.kind], storage(dtype))
    lifted = lift_state(monoid, dtype, values, numpy.arange(len(values)))
    empty = () if monoid.name == "last" else ((identity_state(monoid, dtype, ())),)
    return [tuple(component[k] for component in lifted) for k in range(len(values))] + list(empty)


def meaning(monoid, state):
    """What a state stands for: the pair of log-sum-exp is not unique, and -0.0 is 0.0."""
    if monoid.name == "logsumexp":
        top, total = (numpy.float64(component) for component in state)
        return [top + numpy.log(total) if numpy.isfinite(top) else top]
    return [numpy.float64(component) + 0.0 for component in state]


@pytest.mark.parametrize(("monoid", "dtype"), CASES, ids=lambda value: value.name)
def test_merge_is_associative_and_identity_neutral(monoid, dtype):
    def merge(a, b):
        return merge_states(monoid, dtype, a, b)

    found = states(monoid, dtype)
    with numpy.errstate(all="ignore"):
        for a, b, c in itertools.product(found, repeat=3):
            left, right = meaning(monoid, merge(merge(a, b), c)), meaning(monoid, merge(a, merge(b, c)))
            numpy.testing.assert_allclose(left, right, rtol=1e-6)
        for a in found if monoid.name != "last" else ():
            nothing = identity_state(monoid, dtype, ())
            numpy.testing.assert_array_equal(meaning(monoid, merge(a, nothing)), meaning(monoid, a))
            numpy.testing.assert_array_equal(meaning(monoid, merge(nothing, a)), meaning(monoid, a))


@pytest.mark.parametrize(("monoid", "dtype"), [case for case in CASES if case[0].name != "last"], ids=lambda value: value.name)
def test_merge_commutes(monoid, dtype):
    with numpy.errstate(all="ignore"):
        for a, b in itertools.product(states(monoid, dtype), repeat=2):
            left, right = (merge_states(monoid, dtype, *pair) for pair in ((a, b), (b, a)))
            numpy.testing.assert_allclose(meaning(monoid, left), meaning(monoid, right), rtol=1e-6)


def fold(name, dtype, values, active=None):
    values = numpy.array(values, storage(dtype))
    mask = None if active is None else numpy.array(active)
    return tuple(c[()].item() for c in fold_last_axis(MONOIDS[name], dtype, values, numpy.arange(len(values)), mask))


@pytest.mark.parametrize(
    ("name", "dtype", "values", "expected"),
    [
        ("sum", f32, [1, 2, 3], (6.0,)),
        ("sum", i8, [100, 100], (-56,)),
        ("sum", bf16, [256, 1, 1], (258.0,)),  # in bf16 each 1 would be lost
        ("prod", i32, [2, 3, 4], (24,)),
        ("max", f32, [1, numpy.nan, 3], (numpy.nan,)),
        ("min", f32, [1, numpy.nan, 3], (numpy.nan,)),
        ("any", boolean, [False, True], (True,)),
        ("all", boolean, [False, True], (False,)),
        ("xor", i64, [5, 3], (6,)),
        ("last", f32, [5, 3, 8], (8.0,)),
        ("argmax", f32, [1, 3, 3, 2], (3.0, 1)),
        ("argmin", f32, [3, 1, 1, 2], (1.0, 1)),
        ("argmax", f32, [3, numpy.nan, 9, numpy.nan], (numpy.nan, 1)),
        ("argmin", f32, [3, numpy.nan, -9, numpy.nan], (numpy.nan, 1)),
        ("argmax", f32, [-numpy.inf, -numpy.inf], (-numpy.inf, 0)),
        ("argmax", f32, [-0.0, 0.0], (0.0, 0)),
        ("argmax", boolean, [False, True, True], (True, 1)),
        ("welford", f32, [1, 2, 6], (3.0, 14.0, 3.0)),
        ("logsumexp", f32, [-numpy.inf, -numpy.inf], (-numpy.inf, 0.0)),
        ("logsumexp", f32, [0, -numpy.inf, 0], (0.0, 2.0)),
    ],
)
def test_known_folds(name, dtype, values, expected):
    numpy.testing.assert_array_equal(fold(name, dtype, values), expected)


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("sum", f32, (0.0,)),
        ("prod", i8, (1,)),
        ("max", f32, (-numpy.inf,)),
        ("max", i8, (-128,)),
        ("max", u8, (0,)),
        ("min", u8, (255,)),
        ("max", boolean, (False,)),
        ("any", boolean, (False,)),
        ("all", boolean, (True,)),
        ("last", f32, (0.0,)),
        ("argmax", f32, (-numpy.inf, 2**63 - 1)),
        ("welford", f32, (0.0, 0.0, 0.0)),
        ("logsumexp", f32, (-numpy.inf, 0.0)),
    ],
)
def test_nothing_folds_to_the_identity(name, dtype, expected):
    assert fold(name, dtype, []) == expected
    assert fold(name, dtype, [1, 1, 1], [False, False, False]) == expected


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(MONOIDS)), st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9), st.booleans()), max_size=20))
def test_folds_along_an_axis_and_in_groups_agree_with_one_by_one(name, points):
    monoid = MONOIDS[name]
    dtype = f64 if "float" in TYPE_KINDS[monoid.types] else boolean if "bool" in TYPE_KINDS[monoid.types] else i64
    keys = numpy.array([key for key, _, _ in points], numpy.int64)
    values = numpy.array([value for _, value, _ in points]).astype(storage(dtype))
    active = numpy.array([alive for _, _, alive in points], numpy.bool_)
    positions = numpy.arange(len(points))

    def one_by_one(chosen):
        state = None
        lifted = lift_state(monoid, dtype, values, positions)
        for k in numpy.flatnonzero(chosen):
            element = tuple(component[k] for component in lifted)
            state = element if state is None else merge_states(monoid, dtype, state, element)
        return identity_state(monoid, dtype, ()) if state is None else state

    along = fold_last_axis(monoid, dtype, values, positions, active)
    numpy.testing.assert_allclose(meaning(monoid, along), meaning(monoid, one_by_one(active)), rtol=1e-9, atol=1e-9)
    found, state = fold_groups(monoid, dtype, keys[active], values[active], positions[active])
    assert found.tolist() == sorted(set(keys[active].tolist()))
    for k, key in enumerate(found):
        expected = meaning(monoid, one_by_one(active & (keys == key)))
        numpy.testing.assert_allclose(meaning(monoid, [c[k] for c in state]), expected, rtol=1e-9, atol=1e-9)


def lane_kernel(monoid, dtype, lanes):
    """A kernel that makes one state of as many as there are lanes, as `across` says."""
    dtypes = monoid.state_dtypes(dtype)
    parts = tuple(Load(f"L{k}", (as_index("l"),)) for k in range(monoid.arity))
    wholes = tuple(Load(f"T{k}", ()) for k in range(monoid.arity))
    axis = (Axis("l", lanes),)
    body = tuple(
        Assign(f"T{component}", (), (), value, reduce=name, reduced=axis)
        for component, name, value in monoid.across(parts, wholes, dtype)
    )
    arguments = [Argument(f"L{k}", t, (as_index(lanes),), (as_index(1),), "in") for k, t in enumerate(dtypes)]
    arguments += [Argument(f"T{k}", t, (), (), "out") for k, t in enumerate(dtypes)]
    return Kernel("across", tuple(arguments), body)


def fold_lanes(monoid, dtype, values, lanes):
    """The state of values, those of each lane (every `lanes`-th) folded by themselves and then across lanes."""
    values = numpy.array(values, storage(dtype))
    held = [
        fold_last_axis(monoid, dtype, values[k::lanes], numpy.arange(len(values))[k::lanes], numpy.ones(len(values[k::lanes]), bool))
        for k in range(lanes)
    ]
    arrays = {f"L{k}": numpy.array([state[k] for state in held]) for k in range(monoid.arity)}
    arrays |= {f"T{k}": numpy.zeros((), storage(t)) for k, t in enumerate(monoid.state_dtypes(dtype))}
    kernel = lane_kernel(monoid, dtype, lanes)
    check_kernel(kernel)
    with numpy.errstate(all="ignore"):
        evaluate_kernel(kernel, arrays)
    return tuple(arrays[f"T{k}"] for k in range(monoid.arity))


# The last of the elements is not the last lane's: lanes take turns.
COMMUTATIVE = [case for case in CASES if case[0].name != "last"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(COMMUTATIVE), st.lists(st.integers(0, 7), max_size=12), st.integers(1, 6))
def test_folding_side_by_side_and_then_across_gives_what_one_fold_gives(case, places, lanes):
    """Also where a lane has no element, and for infinities and NaN."""
    monoid, dtype = case
    choices = VALUES[dtype.kind]
    values = numpy.array([choices[place % len(choices)] for place in places], storage(dtype))
    with numpy.errstate(all="ignore"):
        expected = meaning(monoid, fold_last_axis(monoid, dtype, values, numpy.arange(len(values)), None))
        found = meaning(monoid, fold_lanes(monoid, dtype, values, lanes))
    numpy.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "dtype", "values", "expected"),
    [
        ("sum", i8, [100, 100, 3], (-53,)),
        ("max", f32, [1, numpy.nan, 3], (numpy.nan,)),
        ("argmax", f32, [1, 3, 3, 2], (3.0, 1)),
        ("argmax", f32, [3, numpy.nan, 9, numpy.nan], (numpy.nan, 1)),
        ("argmin", bf16, [-numpy.inf, 5, -numpy.inf], (-numpy.inf, 0)),
        ("argmax", boolean, [False, True, True], (True, 1)),
        ("welford", f32, [1, 2, 6, 3], (3.0, 14.0, 4.0)),
        ("welford", f64, [], (0.0, 0.0, 0.0)),
        ("logsumexp", f32, [0, -numpy.inf, 0], (0.0, 2.0)),
    ],
)
def test_known_folds_across_lanes(name, dtype, values, expected, lanes):
    numpy.testing.assert_array_equal(fold_lanes(MONOIDS[name], dtype, values, lanes), expected)


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_sum_of_nothing_but_impossible_exponentials_stays_finite_across_lanes(lanes):
    """-inf - -inf would be NaN, and poison what is merged with it later."""
    assert fold_lanes(MONOIDS["logsumexp"], f32, [-numpy.inf] * 3, lanes) == (-numpy.inf, 0.0)
    assert fold_lanes(MONOIDS["logsumexp"], f32, [], lanes) == (-numpy.inf, 0.0)


@pytest.mark.parametrize(("monoid", "dtype"), CASES, ids=lambda value: value.name)
def test_every_component_is_folded_across_lanes_once(monoid, dtype):
    """Each by a monoid of one component, which reads totals of those before it alone."""
    done = []
    lanes, totals = (tuple(Load(f"{side}{k}", ()) for k in range(monoid.arity)) for side in "LT")
    for component, name, value in monoid.across(lanes, totals, dtype):
        assert MONOIDS[name].arity == 1
        assert {load for load in loads(value) if load in totals} <= {totals[k] for k in done}
        done.append(component)
    assert sorted(done) == list(range(monoid.arity))


def test_positions_are_row_major():
    position = position_of([("i", as_index(3)), ("j", as_index("N"))])
    assert print_expression(position) == "i64[N*i + j]"


@pytest.mark.parametrize("monoid", MONOIDS.values(), ids=lambda monoid: monoid.name)
def test_a_row_is_consistent(monoid):
    assert monoid.arity == len(monoid.components)
    assert monoid.types in TYPE_KINDS
    assert monoid.operator is None or (monoid.arity == 1 and isinstance(OPERATORS[monoid.operator].numpy, numpy.ufunc))
