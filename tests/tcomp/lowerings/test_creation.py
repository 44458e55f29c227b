"""Tensors made from nothing, copies and triangles against eager."""

import pytest
import torch

from tcomp.stages.lower_graph import find_unsupported
from tests.lowering_support import capture, check, execute
from tests.tcomp.lowerings.test_pointwise import example

aten = torch.ops.aten
DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_constants(dtype):
    check(lambda: torch.full((2, 3), 1, dtype=dtype))
    check(lambda x: torch.full_like(x, 2.7, dtype=dtype), torch.randn(2))
    for decompose in (True, False):
        check(lambda x: (torch.zeros_like(x), torch.ones_like(x)), example((2, 3), dtype), decompose=decompose)
        check(lambda: (torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype)), decompose=decompose)
        check(lambda x: (x.new_zeros(2), x.new_ones(3), x.new_full((2,), 1)), example((2,), dtype), decompose=decompose)
        check(lambda x: aten.fill.Scalar(x, 1), example((2,), dtype), decompose=decompose)
        check(lambda x: aten.fill.Tensor(x, torch.tensor(1.5)), example((2,), dtype), decompose=decompose)
    check(lambda: torch.scalar_tensor(3, dtype=dtype))


def test_memory_left_uninitialised_is_zero():
    for function in (lambda: torch.empty(2, 3), lambda: torch.empty_strided((2, 3), (1, 2))):
        assert not execute(capture(function, decompose=False), [])[0].any()


RANGES = [(5,), (2, 7), (2, 11, 3), (5, -5, -2), (0.0, 1.0, 0.1), (0, 1, 0.25), (3, 3), (-1.5, 4)]


@pytest.mark.parametrize("bounds", RANGES, ids=str)
@pytest.mark.parametrize("decompose", [True, False], ids=["core", "kept"])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64, torch.int64, torch.int32], ids=str)
def test_ranges(bounds, decompose, dtype):
    if dtype is None or dtype.is_floating_point or all(isinstance(b, int) for b in bounds):
        check(lambda: torch.arange(*bounds, dtype=dtype), decompose=decompose)


def test_ranges_of_symbolic_sizes():
    check(lambda x: torch.arange(x.shape[0]) * x.shape[1], torch.randn(3, 5), dynamic=True)
    check(lambda x: torch.arange(1, x.shape[0] + 1, 2), torch.randn(5), dynamic=True)


@pytest.mark.parametrize("arguments", [(0, 1, 5), (-2.5, 3, 8), (4, -4, 7), (1, 2, 1), (0, 0, 3), (3, 5, 0)], ids=str)
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64, torch.bfloat16, torch.int64), ids=str)
@pytest.mark.parametrize("decompose", [True, False], ids=["core", "kept"])
def test_even_spacing(arguments, dtype, decompose):
    check(lambda: torch.linspace(*arguments, dtype=dtype), decompose=decompose, terms=1)


def test_identity_matrices():
    for decompose in (True, False):
        check(lambda: torch.eye(3), decompose=decompose)
        check(lambda: torch.eye(2, 4, dtype=torch.int64), decompose=decompose)
        check(lambda: torch.eye(2, 4, dtype=torch.bool), decompose=decompose)


@pytest.mark.parametrize("diagonal", [0, 1, -2])
@pytest.mark.parametrize("function", [torch.tril, torch.triu], ids=lambda f: f.__name__)
def test_triangles(function, diagonal):
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        for decompose in (True, False):
            check(lambda x: function(x, diagonal), example((2, 3, 4), dtype), decompose=decompose)


@pytest.mark.parametrize("source", DTYPES, ids=str)
@pytest.mark.parametrize("target", DTYPES, ids=str)
def test_conversions(source, target):
    x = example((20,), source)
    if target == torch.uint8 and source.is_floating_point:
        x = x.abs()
    check(lambda x: x.to(target), x)


def test_copies():
    check(lambda x: x.clone(), example((2, 3), torch.float32))
    check(lambda x, y: aten.copy.default(x, y), example((2, 3), torch.int64), example((3,), torch.float32))
    check(lambda x: aten.lift_fresh_copy.default(x), example((2, 3), torch.float32), decompose=False)


@pytest.mark.parametrize("size", [3, 255, 256, 300])
def test_identities(size):
    """PyTorch's own decomposition compares unsigned integers, 8 bits wide below 256 and 16 above."""
    check(lambda x: torch.eye(size, dtype=torch.int32) + x, torch.tensor(1), decompose=False)
    check(lambda x: torch.eye(size, 5) * x, torch.tensor(2.0), decompose=False)


def test_dropout_that_drops_nothing():
    check(lambda x: aten.native_dropout.default(x, 0.5, False), example((2, 3), torch.float32))
    check(lambda x: aten.native_dropout.default(x, 0.0, True), example((2, 3), torch.bfloat16))


def test_dropout_that_draws_is_refused():
    (reason,) = find_unsupported(capture(lambda x: aten.native_dropout.default(x, 0.5, True)[0], torch.randn(3))).values()
    assert "random" in str(reason) and "eager" in reason.help


def test_fractional_ranges_of_symbolic_sizes_are_refused():
    graph = capture(lambda x: torch.arange(x.shape[0], x.shape[0] + 1, 0.5), torch.randn(3), dynamic=True)
    reasons = [str(reason) for reason in find_unsupported(graph).values()]
    assert any("symbolic bound" in reason for reason in reasons)


@pytest.mark.parametrize(("start", "end", "step"), [(2.1, -2.9, -1.0), (0.1, -7.9, -4.0), (1, 5, 2)])
def test_ranges_of_integers_between_fractions(start, end, step):
    check(lambda x: torch.arange(start, end, step, dtype=torch.int64) + x, torch.tensor(1))


@pytest.mark.parametrize(("start", "end", "steps"), [(4.3, -3, 50), (4, 50, 49), (-2.7, 9.9, 7), (3.5, 3.5, 1)])
def test_even_steps_of_integers(start, end, steps):
    check(lambda x: torch.linspace(start, end, steps, dtype=torch.int64) + x, torch.tensor(1), decompose=False)
