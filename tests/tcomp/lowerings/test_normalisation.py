"""Normalisation against eager."""

import pytest
import torch

from tcomp.stages.lower_graph import find_unsupported
from tests.lowering_support import capture, check, execute, find_mismatch
from tests.tcomp.lowerings.test_pointwise import example

aten = torch.ops.aten
FLOATS = (torch.float32, torch.bfloat16, torch.float64)
F = torch.nn.functional


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_layer_norm(shape, dtype):
    x, w, b = example((3, 4, 5), dtype), example(shape, dtype, 1), example(shape, dtype, 2)
    terms = torch.Size(shape).numel()
    check(lambda x, w, b: aten.native_layer_norm(x, shape, w, b, 1e-5), x, w, b, terms=terms)
    check(lambda x: aten.native_layer_norm(x, shape, None, None, 1e-3), x, terms=terms)
    check(lambda x, w: F.layer_norm(x, shape, w), x, w, terms=terms)


def test_layer_norm_of_mixed_types():
    x = example((3, 5), torch.bfloat16)
    check(lambda x, w, b: F.layer_norm(x, (5,), w, b), x, torch.randn(5), torch.randn(5), terms=5)


def test_layer_norm_far_from_zero():
    check(lambda x: F.layer_norm(x, (64,)), torch.randn(3, 64) + 300, terms=300)


@pytest.mark.parametrize("decompose", [True, False], ids=["core", "kept"])
@pytest.mark.parametrize("wanted", [(True, True, True), (True, False, False), (False, True, True)])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gradient_of_layer_norm(dtype, wanted, decompose):
    x, grad, w, b = example((3, 4, 5), dtype), example((3, 4, 5), dtype, 1), example((5,), dtype, 2), example((5,), dtype, 3)
    _, mean, rstd = aten.native_layer_norm(x, [5], w, b, 1e-5)

    def function(grad, x, mean, rstd, w, b):
        return aten.native_layer_norm_backward(grad, x, [5], mean, rstd, w, b, wanted)

    check(function, grad, x, mean, rstd, w, b, terms=12, decompose=decompose)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups, dtype):
    x, w, b = example((2, 6, 3, 4), dtype), example((6,), dtype, 1), example((6,), dtype, 2)
    check(lambda x, w, b: aten.native_group_norm(x, w, b, 2, 6, 12, groups, 1e-5), x, w, b, terms=72)
    check(lambda x: F.group_norm(x, groups), x, terms=72)
    check(lambda x: F.group_norm(x, groups), x[:, :, 0, 0].contiguous(), terms=6)


@pytest.mark.parametrize("decompose", [True, False], ids=["core", "kept"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 5)], ids=str)
def test_batch_norm_with_running_statistics(shape, decompose):
    for dtype in FLOATS:
        x, mean, var = example(shape, dtype), example((3,), dtype, 1), example((3,), dtype, 2).abs()
        w, b = example((3,), dtype, 3), example((3,), dtype, 4)

        def function(x, w, b, mean, var):
            return aten._native_batch_norm_legit_no_training(x, w, b, mean, var, 0.1, 1e-5)

        check(function, x, w, b, mean, var, terms=4, decompose=decompose)
        check(lambda x, mean, var: F.batch_norm(x, mean, var), x, mean, var, terms=4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5)], ids=str)
def test_batch_norm_with_statistics_of_the_batch(shape, training):
    x, w, b, mean, var = example(shape, torch.float32), *(torch.rand(3) for _ in range(4))
    functional = aten._native_batch_norm_legit_functional.default
    no_stats = aten._native_batch_norm_legit.no_stats
    check(lambda *t: functional(*t, training, 0.1, 1e-5), x, w, b, mean, var, terms=40, decompose=False)
    check(lambda *t: no_stats(*t, True, 0.1, 1e-5), x, w, b, terms=40, decompose=False)
    check(lambda x: F.instance_norm(x), torch.randn(2, 3, 4), terms=4)


@pytest.mark.parametrize("eps", [None, 1e-6])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_root_mean_square_norm(dtype, eps):
    x, w = example((3, 4, 5), dtype), example((5,), dtype, 1)
    check(lambda x, w: F.rms_norm(x, (5,), w, eps), x, w, terms=5)
    check(lambda x, w: aten._fused_rms_norm.default(x, [5], w, eps), x, w, terms=5, decompose=False)
    check(lambda x: aten._fused_rms_norm.default(x, [4, 5], None, eps), x, terms=20, decompose=False)


def test_norms_of_symbolic_sizes_serve_other_sizes():
    def function(x, w):
        return F.layer_norm(x, (8,), w) + F.rms_norm(x, (8,), w) + F.group_norm(x, 1)

    graph = capture(function, torch.randn(2, 3, 8), torch.randn(8), dynamic=True)
    arguments = [torch.randn(5, 7, 8), torch.randn(8)]
    assert find_mismatch(execute(graph, arguments)[0], function(*arguments), terms=56) is None


def test_batch_norm_that_updates_in_place_is_refused():
    x, mean, var = torch.randn(4, 3), torch.zeros(3), torch.ones(3)
    graph = capture(lambda x, mean, var: aten.native_batch_norm(x, None, None, mean, var, False, 0.1, 1e-5)[0], x, mean, var)
    node = next(n for n in graph.graph.nodes if n.target == aten.native_batch_norm.default)
    node.args = (*node.args[:5], True, *node.args[6:])
    (reason,) = find_unsupported(graph).values()
    assert "in place" in str(reason) and "functional" in reason.help
