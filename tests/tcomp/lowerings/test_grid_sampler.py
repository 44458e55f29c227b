"""Sampling at given points against eager."""

import pytest
import torch

from tcomp.lowerings.grid_sampler import BORDER, CUBIC, LINEAR, NEAREST, REFLECTION, ZEROS
from tests.lowering_support import check

aten = torch.ops.aten
# Cubic interpolation sums 16 taps, whose weights cancel: errors are relative to the largest result.
TERMS = 16


@pytest.mark.parametrize("mode", [LINEAR, NEAREST, CUBIC])
@pytest.mark.parametrize("padding", [ZEROS, BORDER, REFLECTION])
@pytest.mark.parametrize("align_corners", [False, True])
def test_two_dimensions(mode, padding, align_corners):
    torch.manual_seed(0)
    for size in ((2, 3, 5, 6), (2, 1, 1, 4)):
        grid = torch.randn(2, 4, 3, 2) * 2

        def sample(x, grid):
            return aten.grid_sampler_2d(x, grid, mode, padding, align_corners)

        check(sample, torch.randn(size), grid, terms=TERMS, decompose=False)


@pytest.mark.parametrize("mode", [LINEAR, NEAREST])
@pytest.mark.parametrize("padding", [ZEROS, BORDER, REFLECTION])
def test_three_dimensions(mode, padding):
    torch.manual_seed(0)
    x, grid = torch.randn(2, 3, 5, 6, 4), torch.randn(2, 4, 3, 2, 3)
    check(lambda x, g: aten.grid_sampler_3d(x, g, mode, padding, False), x, grid, terms=TERMS, decompose=False)


def test_far_points_read_zeros():
    x, grid = torch.randn(1, 2, 5, 6), torch.full((1, 2, 3, 2), 2e30)
    check(lambda x, g: aten.grid_sampler_2d(x, g, NEAREST, ZEROS, False), x, grid, decompose=False)
