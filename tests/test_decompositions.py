import pytest
import torch

from tcomp.decompositions import decompositions

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
    ]
    assert not [op for op in kept if op in decompositions()]


def test_composites_are_taken_apart():
    composites = [aten.linear.default, aten.matmul.default, aten.layer_norm.default, aten.scaled_dot_product_attention.default]
    assert all(op in decompositions() for op in composites)
