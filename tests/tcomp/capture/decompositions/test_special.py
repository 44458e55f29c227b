"""Special functions of series are kernels, and as exact as eager's."""

import itertools
import math

import pytest
import torch
from compiled import Function

import tcomp
from tcomp.reference import is_right, measure_error

INNER = torch.linspace(-30, 30, 4001)
UNIT = torch.cat([torch.linspace(0, 1, 2001), torch.logspace(-37, -1, 200), torch.tensor([-0.1, 1.1, math.nan])])
ODD = torch.tensor([0.0, -0.0, 8.0, -8.0, 90.0, -90.0, math.inf, -math.inf, math.nan])


CASES = {
    "i0": INNER,
    "i0e": INNER * 10,
    "i1": INNER,
    "i1e": INNER * 10,
    "modified_bessel_i0": INNER,
    "modified_bessel_i1": INNER,
    "ndtri": UNIT,
    "spherical_bessel_j0": INNER,
}
NARROW = ("i0", "i0e", "i1", "i1e")
"""Those that eager computes in 16 bits."""


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*itertools.product(CASES, (torch.float32, torch.float64)), *itertools.product(NARROW, (torch.bfloat16,))],
)
def test_functions_of_series(name, dtype):
    function = getattr(torch.special, name)
    x = torch.cat([CASES[name], ODD]).to(dtype)
    compiled = tcomp.compile(Function(function), (x,), fallback="error")
    got, want = compiled(x), function(x)
    assert got.dtype == want.dtype
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got.isposinf(), want.isposinf())
    assert torch.equal(got.isneginf(), want.isneginf())
    finite = want.isfinite()
    if dtype == torch.float64:
        torch.testing.assert_close(got[finite], want[finite], rtol=1e-13, atol=1e-300)
        return
    exact = function(x.double())[finite]
    # Relative to each value, so that small ones count as much as large ones.
    scale = exact.abs().clamp_min(1e-30)
    ours, theirs = (measure_error([(y[finite].double() / scale)], [exact / scale]) for y in (got, want))
    assert is_right(ours, theirs, [want[finite]])


def test_functions_of_integers():
    x = torch.arange(5)
    torch.testing.assert_close(tcomp.compile(Function(torch.special.i0), (x,), fallback="error")(x), torch.special.i0(x))
