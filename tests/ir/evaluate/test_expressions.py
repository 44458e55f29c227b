"""Expressions in an environment: the part that cascades and tile programs share."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.dtypes import bf16, boolean, f32, i64
from tcomp.ir.evaluate.expressions import (
    Environment,
    OutsideError,
    evaluate_expression,
    evaluate_index,
    extent_value,
    make_array,
    read_array,
)
from tcomp.ir.parse.cascade import parse_expression, parse_index

TABLE = numpy.arange(60.0).reshape(3, 4, 5)


def make_environment(arrays, dtypes, float64=False, **variables):
    def read(tensor, index, outside):
        return read_array(arrays[tensor], index, outside)

    return Environment({name: numpy.asarray(value) for name, value in variables.items()}, dtypes, read, float64)


def test_loads_go_through_the_callback_with_their_positions_and_outside_value():
    asked = []

    def read(tensor, index, outside):
        asked.append((tensor, [p.tolist() for p in index], outside))
        return numpy.float32([10, 20])

    environment = Environment({"i": numpy.arange(2)}, {"X": f32}, read)
    assert evaluate_expression(parse_expression("(X[i + 1, 3] else 0.5) * 2.0"), environment).tolist() == [20, 40]
    assert asked == [("X", [[1, 2], 3], 0.5)]


def test_the_result_has_length_one_along_what_is_not_used():
    environment = make_environment({"X": TABLE}, {"X": f32}, i=numpy.arange(3).reshape(3, 1), j=numpy.arange(4).reshape(1, 4))
    assert evaluate_expression(parse_expression("X[i, 1, 2]"), environment).shape == (3, 1)
    assert evaluate_expression(parse_expression("X[i, j, 2]"), environment).shape == (3, 4)
    assert evaluate_expression(parse_expression("f32[j]"), environment).shape == (1, 4)


def test_a_narrow_float_rounds_after_every_operator_and_the_oracle_never():
    expression = parse_expression("(X[] + X[]) / 3.0:bf16")
    arrays = {"X": numpy.float32(1.0078125)}
    narrow = evaluate_expression(expression, make_environment(arrays, {"X": bf16}))
    assert narrow == numpy.float32(0.671875)
    assert narrow.dtype == numpy.float32
    exact = evaluate_expression(expression, make_environment({"X": numpy.float64(1.0078125)}, {"X": bf16}, float64=True))
    assert exact == 2.015625 / 3


def test_indices_use_values():
    environment = make_environment({"I": numpy.array([4, 2, 0])}, {"I": i64}, i=numpy.arange(3))
    assert evaluate_index(parse_index("2*I[i] + i // 2 - i % 2"), environment).tolist() == [8, 3, 1]


def test_extents_are_numbers_once_symbols_are_known():
    assert extent_value(parse_index("(N + 3) // 4 * M"), {"N": 5, "M": 3}) == 6


def test_literals_are_rounded_to_their_dtype_unless_in_the_oracle():
    assert make_array(0.1, f32) == numpy.float32(0.1)
    assert make_array(0.1, f32, float64=True) == 0.1
    assert make_array(257.0, bf16) == 256.0
    assert make_array(True, boolean).dtype == numpy.bool_


POSITION = st.sampled_from(["i", "j", "k", "1", "2*i", "i + 1", "i - 1", "4 - j", "j + k", "2 - k", "9", "k // 2"])


@settings(max_examples=200, deadline=None)
@given(st.tuples(POSITION, POSITION, POSITION))
def test_reading_is_indexing_whether_it_is_a_view_or_not(texts):
    lengths = {"i": 2, "j": 3, "k": 1}
    variables = {
        name: numpy.arange(length).reshape([length if axis == k else 1 for axis in range(3)])
        for k, (name, length) in enumerate(lengths.items())
    }
    environment = make_environment({"X": TABLE}, {"X": f32}, **variables)
    index = [evaluate_index(parse_index(text), environment) for text in texts]
    found = read_array(TABLE, index, -1.0)
    broadcast = numpy.broadcast_arrays(*index)
    assert numpy.broadcast_shapes(found.shape, broadcast[0].shape) == broadcast[0].shape
    padded = numpy.pad(TABLE, 10, constant_values=-1.0)
    numpy.testing.assert_array_equal(numpy.broadcast_to(found, broadcast[0].shape), padded[tuple(p + 10 for p in broadcast)])


def test_a_strided_box_is_a_view():
    rows = numpy.arange(2).reshape(2, 1)
    columns = numpy.arange(0, 4, 2).reshape(1, 2)
    assert numpy.shares_memory(read_array(TABLE, [rows, columns, numpy.asarray(3)], None), TABLE)


def test_reading_outside_without_a_value_fails_where_it_is_active():
    positions = numpy.arange(4)
    with pytest.raises(OutsideError, match=r"reads \[3\] of a tensor of shape \[3\]"):
        read_array(numpy.zeros(3), [positions], None)
    with pytest.raises(OutsideError):
        read_array(numpy.zeros(3), [positions], None, active=positions >= 3)
    assert read_array(numpy.ones(3), [positions], None, active=positions < 3).tolist()[:3] == [1, 1, 1]
    assert read_array(numpy.zeros(0), [positions], 5.0).tolist() == [5.0] * 4
    with pytest.raises(OutsideError):
        read_array(numpy.zeros(0), [positions], None)
