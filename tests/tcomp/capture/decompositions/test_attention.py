"""The fused attentions of GPUs, which the CPU does not have: spelled out, they agree with PyTorch's attention, gradients as well."""

import pytest
import torch
from compiled import Function, random
from torch.nn.functional import scaled_dot_product_attention

import tcomp
from tcomp.capture.capture import capture
from tcomp.capture.decompositions.attention import FUSED_ATTENTIONS
from tcomp.capture.decompositions.table import decompositions

aten = torch.ops.aten
FLASH, FLASH_BACKWARD = (aten._scaled_dot_product_flash_attention.default, aten._scaled_dot_product_flash_attention_backward.default)
EFFICIENT, EFFICIENT_BACKWARD = (
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_efficient_attention_backward.default,
)
CUDNN, CUDNN_BACKWARD = (aten._scaled_dot_product_cudnn_attention.default, aten._scaled_dot_product_cudnn_attention_backward.default)


def draw(*, groups=4, length=7):
    shapes = ((2, 4, 5, 8), (2, groups, length, 8), (2, groups, length, 8))
    return [random(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]


def draw_bias(length=7):
    """A bias that hides one row altogether."""
    bias = random(2, 4, 5, length, seed=3)
    bias[0, 1, 2] = -torch.inf
    bias[1, 1, 1, 0] = -torch.inf
    return bias


def spell(op, *arguments, **options):
    with torch.no_grad():
        return FUSED_ATTENTIONS[op](*arguments, **options)


def check_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("groups", "is_causal", "scale"), [(4, False, None), (4, True, 0.3), (2, False, 0.5), (1, True, None)])
@pytest.mark.parametrize(("forward", "backward"), [(FLASH, FLASH_BACKWARD), (CUDNN, CUDNN_BACKWARD)], ids=["flash", "cudnn"])
def test_attention_agrees_with_pytorch(forward, backward, groups, is_causal, scale):
    query, key, value = draw(groups=groups, length=5 if is_causal else 7)
    want = scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale, enable_gqa=True)
    grad = random(2, 4, 5, 8, seed=5)
    want.backward(grad)
    bias = () if forward is FLASH else (None, True)
    out, logsumexp, *_ = spell(forward, query, key, value, *bias, 0.0, is_causal, scale=scale)
    check_close(out, want)
    saved = (None, None, 5, 5, 0.0, is_causal, None, None) if forward is FLASH else (None, None, None, None, None, 5, 5, 0.0, is_causal)
    grads = spell(backward, grad, query, key, value, out, logsumexp, *saved, scale=scale)
    assert len(grads) == 3
    for ours, theirs in zip(grads, (query, key, value)):
        check_close(ours, theirs.grad)


@pytest.mark.parametrize("wanted", [(True, True, True, True), (True, False, True, False)])
def test_a_bias_may_hide_rows_and_has_a_gradient(wanted):
    query, key, value = draw()
    bias = draw_bias().requires_grad_()
    want = scaled_dot_product_attention(query, key, value, attn_mask=bias)
    grad = random(2, 4, 5, 8, seed=5)
    want.backward(grad)
    out, logsumexp, *_ = spell(EFFICIENT, query, key, value, bias, True)
    check_close(out, want)
    assert out[0, 1, 2].abs().max() == 0
    grads = spell(EFFICIENT_BACKWARD, grad, query, key, value, bias, out, logsumexp, None, None, 0.0, list(wanted))
    hidden = torch.zeros_like(bias, dtype=torch.bool)
    hidden[0, 1, 2] = True
    for ours, theirs, is_wanted in zip(grads, (query, key, value, bias), wanted, strict=True):
        assert (ours is not None) is is_wanted
        if is_wanted:
            # PyTorch on the CPU gives NaN for the bias of a row that sees nothing.
            keep = ~hidden if theirs is bias else torch.ones_like(theirs, dtype=torch.bool)
            check_close(ours[keep], theirs.grad[keep])


def test_the_gradient_stays_in_double_precision():
    query, key, value = (x.detach().double().requires_grad_() for x in draw())
    bias, grad = random(2, 4, 5, 7, seed=3).double().requires_grad_(), random(2, 4, 5, 8, seed=5).double()
    scaled_dot_product_attention(query, key, value, attn_mask=bias).backward(grad)
    out, logsumexp, *_ = spell(EFFICIENT, query, key, value, bias, True)
    grads = spell(EFFICIENT_BACKWARD, grad, query, key, value, bias, out, logsumexp, None, None, 0.0, [True] * 4)
    for ours, theirs in zip(grads, (query, key, value, bias)):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("op", "bias"), [(FLASH, ()), (CUDNN, (None, True)), (EFFICIENT, (None, True))])
@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (0, 2, 1, 3)])
def test_strides_are_those_that_pytorch_foresees(op, bias, layout):
    query, key, value = (x.detach().permute(layout).contiguous().permute(layout) for x in draw())
    fakes = [x.to("meta") for x in (query, key, value)]
    assert spell(op, query, key, value, *bias)[0].stride() == op(*fakes, *bias)[0].stride()


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        (FLASH, (0.1,)),
        (FLASH, (0.0, False, True)),
        (EFFICIENT, (None, True, 0.1)),
        (CUDNN, (None, True, 0.1)),
        (CUDNN, (None, True, 0.0, False, True)),
        (FLASH_BACKWARD, (*[None] * 4, 5, 5, 0.1, False, None, None)),
        (EFFICIENT_BACKWARD, (*[None] * 5, 0.1, [True] * 4)),
        (CUDNN_BACKWARD, (*[None] * 7, 5, 5, 0.1, False)),
    ],
    ids=lambda value: str(value) if hasattr(value, "_schema") else "",
)
def test_with_dropout_they_are_left_whole(op, arguments):
    grad = () if op in (FLASH, EFFICIENT, CUDNN) else (random(2, 4, 5, 8),)
    assert spell(op, *grad, *draw(), *arguments) is NotImplemented


def test_capture_spells_them_out_or_keeps_them():
    assert FLASH in decompositions()
    inputs = tuple(x.detach() for x in draw())
    plain = capture(Function(lambda q, k, v: FLASH(q, k, v)[0]), inputs)
    assert FLASH not in {node.target for node in plain.graph.graph.nodes}
    dropping = capture(Function(lambda q, k, v: FLASH(q, k, v, 0.5)[0]), inputs)
    assert FLASH in {node.target for node in dropping.graph.graph.nodes}


@pytest.mark.parametrize("options", [{}, {"backend": "triton", "interpret": True}], ids=["c", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_compile(dtype, options):
    inputs = tuple(x.detach().to(dtype) for x in draw())
    module = Function(lambda q, k, v: FLASH(q, k, v)[0])
    got = tcomp.compile(module, inputs, fallback="error", **options)(*inputs)
    want = scaled_dot_product_attention(*(x.double() for x in inputs))
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)
