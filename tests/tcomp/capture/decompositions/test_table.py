import pytest
import torch
from compiled import Function, random
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import tcomp
from tcomp.capture.decompositions.table import decompositions
from tcomp.capture.decompositions.typed import typed

aten = torch.ops.aten


def attention_arguments(*, mask: torch.Tensor | None = None):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 8, 16, generator=generator) for _ in range(3))
    return (query, key.transpose(1, 2).contiguous().transpose(1, 2), value), {"attn_mask": mask}


SPELLED = [
    (aten.t.default, (torch.randn(2, 3),), {}),
    (aten.t.default, (torch.randn(3),), {}),
    (aten.transpose.int, (torch.randn(2, 3, 4), -1, 0), {}),
    (aten.transpose.int, (torch.tensor(1.0), 0, -1), {}),
    (aten.squeeze.default, (torch.randn(1, 3, 1),), {}),
    (aten.squeeze.dim, (torch.randn(1, 3, 1), -1), {}),
    (aten.squeeze.dim, (torch.randn(1, 3, 1), 1), {}),
    (aten.detach.default, (torch.randn(3),), {}),
    (aten._unsafe_view.default, (torch.randn(2, 6), [3, 4]), {}),
    (aten.split.Tensor, (torch.randn(7, 2), 3), {}),
    (aten.split.Tensor, (torch.randn(2, 6), 3, 1), {}),
    (aten.split.Tensor, (torch.randn(0, 2), 0), {}),
    (aten.split.Tensor, (torch.randn(0, 2), 3), {}),
    (aten.unbind.int, (torch.randn(2, 3), 1), {}),
    *((op, shape, {}) for op in (aten.tril_indices.default, aten.triu_indices.default) for shape in ((5, 5, -1), (9, 5, 2), (3, 8, -9))),
    (aten.masked_fill.Scalar, (torch.randn(2, 3), torch.tensor([True, False, True]), -torch.inf), {}),
    (aten.masked_fill.Scalar, (torch.arange(3), torch.tensor([[True, False, True]]), 7), {}),
    (aten._scaled_dot_product_flash_attention_for_cpu.default, *attention_arguments()),
    (aten._scaled_dot_product_flash_attention_for_cpu.default, *attention_arguments(mask=torch.randn(2, 1, 8, 8))),
]


@pytest.mark.parametrize(("op", "args", "kwargs"), SPELLED, ids=lambda value: str(value) if hasattr(value, "_schema") else "")
def test_spelling_agrees_with_the_operator(op, args, kwargs):
    want = op(*args, **kwargs)
    got = decompositions()[op](*args, **kwargs)
    if isinstance(want, torch.Tensor):
        torch.testing.assert_close(got, want, check_stride=True)
    else:
        assert len(got) == len(want)
        for ours, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("is_masked", [False, True])
def test_attention_and_its_gradient_stay_in_double_precision(is_masked):
    forward = aten._scaled_dot_product_flash_attention_for_cpu.default
    backward = aten._scaled_dot_product_flash_attention_for_cpu_backward.default
    inputs, _ = attention_arguments()
    query, key, value = (x.double() for x in inputs)
    options = {"attn_mask": random(2, 1, 8, 8).double() if is_masked else None}
    out, logsumexp = forward(query, key, value, **options)
    saved = (query - value, query, key, value, out, logsumexp, 0.0, False)
    ours = (*decompositions()[forward](query, key, value, **options), *decompositions()[backward](*saved, **options))
    for got, want in zip(ours, (out, logsumexp, *backward(*saved, **options)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_strides_of_attention_follow_the_query():
    op = aten._scaled_dot_product_flash_attention_for_cpu.default
    (query, key, value), kwargs = attention_arguments()
    for layout in ((0, 1, 2, 3), (0, 2, 1, 3)):
        laid = query.permute(layout).contiguous().permute(layout)
        assert decompositions()[op](laid, key, value, **kwargs)[0].stride() == op(laid, key, value, **kwargs)[0].stride()


def test_random_operators_are_kept():
    random = [aten.bernoulli.default, aten.bernoulli.p, aten.rand.default, aten.randperm.default, aten.uniform.default]
    assert not [op for op in random if op in decompositions()]


def test_operators_with_lowerings_are_kept():
    kept = [
        *(aten.silu.default, aten.gelu.default, aten.native_layer_norm.default, aten._softmax.default, aten.addmm.default),
        *(aten.convolution.default, aten.native_group_norm.default, aten._native_batch_norm_legit_no_training.default),
        *(aten.eye.default, aten.eye.m),
    ]
    guards = typed({})
    assert not [op for op in kept if op in decompositions() and op not in guards]
    assert aten.mm.default in guards
    x = torch.ones(2, 2)
    assert decompositions()[aten.mm.default](x, x) is NotImplemented
    # What is guarded and has no decomposition is a leaf, which a composite operator must not be.
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    assert not [op for op in guards if op.has_kernel_for_dispatch_key(composite)]


def test_composites_are_taken_apart():
    composites = [aten.linear.default, aten.matmul.default, aten.layer_norm.default, aten.scaled_dot_product_attention.default]
    assert all(op in decompositions() for op in composites)


@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("ignored", [-100, 2, 7])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 5, 3, 2)], ids=str)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_gradient_of_a_likelihood_is_a_comparison(shape, reduction, ignored, is_weighted):
    """Also for a target that is ignored, inside or outside the classes; without a scatter."""
    target = torch.arange(2, 2 + max(1, torch.Size(shape).numel() // 5)).remainder(5).reshape([*shape[:1], *shape[2:]] if shape[1:] else [])
    if target.dim() and ignored not in range(5):
        target.view(-1)[0] = ignored
    x = torch.randn(shape).log_softmax(0 if len(shape) == 1 else 1)
    weight = torch.rand(5) if is_weighted else None
    loss = aten.nll_loss2d_forward if len(shape) == 4 else aten.nll_loss_forward
    result, total = loss.default(x, target, weight, reduction, ignored)
    op = aten.nll_loss2d_backward.default if len(shape) == 4 else aten.nll_loss_backward.default
    arguments = (torch.rand_like(result), x, target, weight, reduction, ignored, total)
    got = decompositions()[op](*arguments)
    torch.testing.assert_close(got, op(*arguments), check_stride=True)
    traced = make_fx(lambda: decompositions()[op](*arguments))()
    assert not [node for node in traced.graph.nodes if "scatter" in str(node.target)]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_mean_loss_over_more_rows_than_f16_counts(weighted):
    """Sum and count overflow f16; their quotient does not."""
    x, target = random(70_000, 3).half(), torch.arange(70_000) % 3
    weight = torch.tensor([1.0, 2.0, 0.5]).half() if weighted else None
    module = Function(lambda x: nn.functional.cross_entropy(x, target, weight))
    with torch.no_grad():
        got = tcomp.compile(module, (x,), fallback="error")(x)
    want = nn.functional.cross_entropy(x.double(), target, None if weight is None else weight.double())
    assert got.dtype == torch.float16
    assert abs(got.double() - want) < 1e-3 * want
