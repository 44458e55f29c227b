"""Sizes of torch as indices of the IR."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from tcomp.capture.symbols import make_symbolic
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import as_index
from tcomp.torch_types import Symbols, UnsupportedSize


def make_sizes(*sizes):
    fake = make_symbolic(FakeTensorMode(shape_env=ShapeEnv()), torch.empty(sizes), 0)
    symbols = Symbols()
    return symbols, *fake.shape, *symbols.shape(fake.shape)


def test_polynomials_quotients_and_remainders_are_indices():
    symbols, m, n, M, N = make_sizes(5, 7)
    assert symbols.index(3) == as_index(3)
    assert symbols.index(2 * m * n - 3 * m + 1) == 2 * M * N - 3 * M + 1
    assert symbols.index((m + 1) // 2 % n) == (M + 1) // 2 % N
    assert [symbol.low for symbol in symbols.found.values()] == [2, 2], "extents of one are never symbols"


def test_a_maximum_is_the_side_that_the_ranges_show_to_be_larger():
    symbols, m, n, M, N = make_sizes(5, 7)
    assert symbols.index(torch.sym_max(1, m // 2)) == M // 2
    assert symbols.index(torch.sym_min(m * n, 1)) == as_index(1)
    assert symbols.index(torch.sym_max(m + n, torch.sym_max(m, 3))) == M + N


@pytest.mark.parametrize("make", [lambda m, n: torch.sym_max(m, n), lambda m, n: torch.sym_max(1, m - 2), lambda m, n: torch.sym_min(m, 9)])
def test_a_maximum_that_the_ranges_leave_open_is_refused(make):
    symbols, m, n, _, _ = make_sizes(5, 7)
    with pytest.raises(UnsupportedSize, match="one or the other, as far as 2 <= s"):
        symbols.index(make(m, n))


def test_what_is_no_polynomial_is_refused():
    symbols, m, _, _, _ = make_sizes(5, 7)
    with pytest.raises(UnsupportedSize, match="not a polynomial"):
        symbols.index(torch.sym_int(1.3 * m))
    assert issubclass(UnsupportedSize, Unsupported)


def test_numbers_that_are_no_integers_are_refused():
    symbols, m, _, _, _ = make_sizes(5, 7)
    for number in (m**-0.5, m == 9):
        with pytest.raises(UnsupportedSize, match="is no integer"):
            symbols.index(number)
