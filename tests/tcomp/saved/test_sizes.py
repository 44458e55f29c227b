"""Sizes survive being saved."""

import pytest

from tcomp import ParseError
from tcomp.ir.expressions import ZERO, as_index
from tcomp.saved.sizes import read_size, write_size

N = as_index("n")


@pytest.mark.parametrize(("size", "data"), [(ZERO, 0), (as_index(-3), -3), (N, "n"), (64 * ((4 * N + 63) // 64), "64*((4*n + 63) // 64)")])
def test_sizes_survive(size, data):
    assert write_size(size) == data
    assert read_size(data) == size


def test_what_is_no_size_is_refused():
    with pytest.raises(ParseError):
        read_size("4 +")
