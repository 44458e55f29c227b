"""Small pieces of index arithmetic."""

import pytest

from tcomp.ir.dtypes import boolean, f32, i8, u8
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import as_index
from tcomp.lowerings.positions import (
    conjunction,
    dimension,
    flat_position,
    highest,
    lowest,
    product,
    replaced,
    static,
    statics,
    unflat_position,
    zero,
)


def indices(*values):
    return tuple(as_index(v) for v in values)


def test_extremes_of_types():
    assert (lowest(i8), highest(i8)) == (-128, 127)
    assert (lowest(u8), highest(u8)) == (0, 255)
    assert (lowest(f32), highest(f32)) == (float("-inf"), float("inf"))
    assert (lowest(boolean), highest(boolean)) == (False, True)


def test_zero_has_the_type_that_an_outside_value_needs():
    assert [type(zero(t)) for t in (f32, i8, boolean)] == [float, int, bool]


def test_dimensions_count_from_the_end():
    assert [dimension(d, 3) for d in (0, 2, -1, -3)] == [0, 2, 2, 0]
    assert [dimension(d, 0) for d in (0, -1)] == [0, 0]


def test_one_number_stands_for_all_dimensions():
    assert statics(3, 2, "a stride") == (3, 3)
    assert statics([3], 2, "a stride") == (3, 3)
    assert statics([3, as_index(4)], 2, "a stride") == (3, 4)
    assert statics([], 2, "a stride") == ()


def test_a_symbolic_size_where_a_fixed_one_is_needed():
    with pytest.raises(Unsupported, match="a stride is the symbolic size N"):
        static(as_index("N"), "a stride")


def test_flat_positions_are_row_major_and_undone():
    shape = indices(3, 4, 5)
    assert flat_position(indices(1, 2, 3), shape) == as_index(33)
    assert unflat_position(as_index(33), shape) == list(indices(1, 2, 3))
    assert len(unflat_position(as_index("i"), indices(2, 0, 3))) == 3
    assert product(shape) == as_index(60)


def test_replaced():
    assert replaced(indices("i", "j", "k"), 1, 7) == indices("i", 7, "k")
    assert replaced(indices("i", "j", "k"), 1) == indices("i", "k")


def test_conjunction_of_nothing():
    assert conjunction([]) is None
