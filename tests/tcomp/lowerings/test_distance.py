"""Distances and their gradients against eager."""

from math import inf

import pytest
import torch

from tests.lowering_support import check

aten = torch.ops.aten

NORMS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, inf]
SHAPES = [((2, 4, 3), (2, 5, 3)), ((4, 3), (5, 3)), ((2, 1, 4, 3), (3, 5, 3)), ((2, 3), (0, 3)), ((2, 1), (3, 1))]


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_cdist(p, shapes):
    torch.manual_seed(0)
    check(lambda a, b: aten._cdist_forward(a, b, p, None), *(torch.randn(s) for s in shapes), terms=16)


@pytest.mark.parametrize("p", NORMS)
def test_cdist_backward(p):
    torch.manual_seed(0)
    a, b = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    b[0, 0] = a[0, 0]
    distances = aten._cdist_forward(a, b, p, 2)
    gradient = torch.randn_like(distances)
    check(lambda g, a, b, d: aten._cdist_backward(g, a, b, p, d), gradient, a, b, distances, terms=20)


@pytest.mark.parametrize("p", NORMS)
def test_pdist(p):
    torch.manual_seed(0)
    for rows in (1, 2, 6):
        check(lambda x: aten._pdist_forward(x, p), torch.randn(rows, 3), terms=16)


@pytest.mark.parametrize("p", [*NORMS, -inf])
def test_dist(p):
    torch.manual_seed(0)
    check(lambda a, b: aten.dist(a, b, p), torch.randn(4, 3), torch.randn(3), terms=24, decompose=False)
