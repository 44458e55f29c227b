"""How much memory strides reach over."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.dtypes import bf16, f64
from tcomp.ir.expressions import as_index
from tcomp.ir.tile import contiguous_strides, span_bytes, span_elements


def sizes(*values):
    return tuple(map(as_index, values))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=4))
def test_the_span_ends_behind_the_last_element(dims):
    shape, strides = [n for n, _ in dims], [s for _, s in dims]
    places = [sum(i * s for i, s in zip(point, strides)) for point in numpy.ndindex(*shape)]
    assert span_elements(sizes(*shape), sizes(*strides)).constant == max(places, default=-1) + 1


@pytest.mark.parametrize(
    ("shape", "strides", "dtype", "size"),
    [
        ((2, 64), (80, 1), f64, "1152"),
        ((5, 3), (0, 1), bf16, "6"),
        ((), (), f64, "8"),
        (("N", 4), (10, 1), bf16, "20*N - 12"),
        ((0, "N"), ("N", 1), f64, "0"),
    ],
)
def test_bytes(shape, strides, dtype, size):
    assert str(span_bytes(dtype, sizes(*shape), sizes(*strides))) == size


def test_without_gaps_the_span_is_all_elements():
    shape = sizes(3, "N", 5)
    assert str(span_elements(shape, contiguous_strides(shape))) == "15*N"
