"""Interpolation and its gradients against eager."""

import pytest
import torch

from tcomp.ir.errors import Unsupported
from tcomp.stages.lower_graph import lower_graph
from tests.lowering_support import capture, check

aten = torch.ops.aten

SMOOTH = ["linear1d", "bilinear2d", "trilinear3d", "bicubic2d"]
NEAREST = [f"{kind}{n}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for n in (1, 2, 3)]
INPUT = (5, 6, 4)
SIZES = [(7, 9, 8), (1, 1, 1), (3, 4, 2), (5, 6, 4), (10, 12, 8)]
FACTORS = (1.7, 2.3, 0.6)


def dimensions(name: str) -> int:
    return int(name[-2])


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("align_corners", [False, True])
def test_smooth_interpolation_to_a_size(name, size, align_corners):
    torch.manual_seed(0)
    n = dimensions(name)
    x, gradient = torch.randn(2, 3, *INPUT[:n]), torch.randn(2, 3, *size[:n])
    forward, backward = getattr(aten, f"upsample_{name}"), getattr(aten, f"upsample_{name}_backward")
    check(lambda x: forward(x, size[:n], align_corners), x, terms=40, decompose=False)
    check(lambda g: backward(g, size[:n], x.shape, align_corners), gradient, terms=80, decompose=False)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("align_corners", [False, True])
def test_smooth_interpolation_by_factors(name, align_corners):
    torch.manual_seed(0)
    n = dimensions(name)
    x = torch.randn(2, 3, *INPUT[:n])
    op = getattr(aten, f"upsample_{name}")
    size = [int(extent * f) for extent, f in zip(INPUT, FACTORS[:n])]
    check(lambda x: op.vec(x, None, align_corners, FACTORS[:n]), x, terms=40, decompose=False)
    check(lambda x: op(x, size, align_corners, *FACTORS[:n]), x, terms=40, decompose=False)


@pytest.mark.parametrize("name", NEAREST)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nearest(name, size):
    torch.manual_seed(0)
    n = dimensions(name)
    x, gradient = torch.randn(2, 3, *INPUT[:n]), torch.randn(2, 3, *size[:n])
    forward, backward = getattr(aten, name), getattr(aten, f"{name}_backward")
    check(lambda x: forward(x, size[:n]), x, decompose=False)
    check(lambda x: forward.vec(x, None, FACTORS[:n]), x, decompose=False)
    check(lambda g: backward(g, size[:n], x.shape), gradient, terms=8, decompose=False)


def test_other_types():
    x = torch.randn(1, 2, 3, 4)
    check(lambda x: aten.upsample_bilinear2d(x, [7, 9], False), x.bfloat16(), terms=4, decompose=False)
    check(lambda x: aten.upsample_bilinear2d(x, [7, 9], False), x.double(), terms=4, decompose=False)
    check(lambda x: aten.upsample_nearest2d(x, [7, 9]), (x * 40).abs().to(torch.uint8), decompose=False)


def test_images_of_bytes_are_left_to_eager():
    x = torch.randint(0, 255, (1, 2, 3, 4), dtype=torch.uint8)
    graph = capture(lambda x: aten.upsample_bilinear2d(x, [7, 9], False), x, decompose=False)
    with pytest.raises(Unsupported, match="interpolation of u8"):
        lower_graph(graph)


def test_tables_depend_on_sizes_alone():
    x = torch.randn(1, 2, 3, 4)
    cascade = check(lambda x: aten.upsample_bilinear2d(x, [6, 8], False), x, terms=8, decompose=False)
    tables = [e for e in cascade.einsums() if e.name.removesuffix("_1").endswith(("places", "weights"))]
    assert len(tables) == 4
    assert all(not e.reads() for e in tables)
