"""Cumulative operators against eager."""

from math import inf, nan

import pytest
import torch

from tcomp.ir.cascade import Iteration
from tests.lowering_support import check

aten = torch.ops.aten

SPECIAL = torch.tensor([[1.0, nan, -inf, 2, nan, inf], [0.0, -0.0, 1, 1, 0, 3], [-inf, -inf, 1, inf, inf, 1]])


def along(function, dim):
    return lambda x: function(x, dim)


def make_inputs():
    torch.manual_seed(0)
    x, numbers = torch.randn(3, 4, 5), torch.randint(-3, 4, (3, 4, 5))
    return [x, numbers, x.bfloat16(), x.double(), numbers > 1, numbers.to(torch.uint8)]


@pytest.mark.parametrize("x", make_inputs(), ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scans(x, dim):
    for function in (aten.cumsum, aten.cumprod, aten.cummax, aten.cummin):
        check(along(function, dim), x, terms=5)
    if x.is_floating_point():
        check(lambda x: aten.logcumsumexp(x, dim), x, terms=5)


def test_special_values():
    for function in (aten.cumsum, aten.cumprod, aten.cummax, aten.cummin, aten.logcumsumexp):
        check(along(function, 1), SPECIAL)
        check(along(function, 0), torch.tensor(3.0))


def test_empty_scans():
    for function in (aten.cumsum, aten.cumprod, aten.logcumsumexp):
        for x in (torch.randn(0), torch.randn(2, 0), torch.randn(0, 2)):
            check(along(function, -1), x)


def test_the_type_of_the_result_is_the_type_of_the_sum():
    check(lambda x: aten.cumsum(x, 0, dtype=torch.float64), torch.randn(4), terms=4)
    check(lambda x: aten.cumsum(x, 0, dtype=torch.int32), torch.randn(4) * 5)


def test_a_long_sum_is_as_exact_as_eager():
    torch.manual_seed(0)
    check(lambda x: aten.cumsum(x, 0), torch.rand(5000), ulps=1)


def test_a_scan_is_one_iteration_that_carries_its_state():
    cascade = check(lambda x: aten.cumsum(x, 1), torch.randn(3, 4), terms=4)
    (iteration,) = cascade.statements
    assert isinstance(iteration, Iteration)
    assert [str(i) for i in iteration.body[0].index] == ["i", "j + 1"]
