"""Results lie in memory as in eager, whatever the layout of the inputs."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves, tree_map

from tcomp.capture.capture import capture

NAMES = (
    *("baddbmm", "masked_fill", "_unsafe_masked_index", "normal", "nn.functional.upsample_nearest", "nn.functional.batch_norm"),
    *("nn.functional.max_unpool2d", "nn.functional.channel_shuffle", "logaddexp", "heaviside", "copysign", "native_dropout_backward"),
    *("logical_and", "logical_or", "logical_xor", "floor_divide", "div", "add", "where", "nn.functional.conv2d", "matmul", "cat"),
)
INFOS = [info for info in op_db if info.name in NAMES]


def _reverse(x: Tensor) -> Tensor:
    order = tuple(reversed(range(x.dim())))
    return x.detach().permute(order).contiguous().permute(order)


def _transpose(x: Tensor) -> Tensor:
    return x.detach().mT.contiguous().mT if x.dim() > 1 else x.detach()


def _put_channels_last(x: Tensor) -> Tensor:
    return x.detach().contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.detach()


class _Call(nn.Module):
    def __init__(self, function, kwargs):
        super().__init__()
        self.function = function
        self.kwargs = kwargs

    def forward(self, *args):
        return self.function(*args, **self.kwargs)


@pytest.mark.parametrize("layout", [_reverse, _transpose, _put_channels_last])
@pytest.mark.parametrize("info", INFOS, ids=lambda info: f"{info.name} {info.variant_test_name}".strip())
def test_results_of_samples_have_the_strides_of_eager(info, layout):
    warnings.simplefilter("ignore")
    compared = 0
    for sample in list(info.sample_inputs("cpu", torch.float32))[:5]:
        given = (sample.input, *sample.args), sample.kwargs
        args, kwargs = tree_map(lambda leaf: layout(leaf) if isinstance(leaf, Tensor) else leaf, given)
        with torch.no_grad():
            wanted = [leaf for leaf in tree_leaves(info.op(*args, **kwargs)) if isinstance(leaf, Tensor)]
            if any(isinstance(leaf, Tensor) for leaf in tree_leaves(kwargs)):
                continue
            outputs = capture(_Call(info.op, kwargs), args, {}).outputs
        for want, output in zip(wanted, outputs, strict=True):
            got = output.val
            compared += 1
            assert got.shape == want.shape
            strides = [pair for size, *pair in zip(want.shape, got.stride(), want.stride()) if size != 1 and want.numel()]
            assert all(ours == theirs for ours, theirs in strides), (args, kwargs)
    assert compared


@pytest.mark.parametrize("fill", [lambda x: x.zero_(), lambda x: x.masked_fill_(torch.tensor([True, True, True]), 4.0)])
def test_an_input_whose_elements_share_memory_can_be_filled(fill):
    import tcomp  # noqa: PLC0415 (the rest needs capture alone)

    class Fill(nn.Module):
        def forward(self, x):
            fill(x)
            return x + 1

    made, x, y = Fill(), torch.ones(1).expand(3), torch.ones(1).expand(3)
    with torch.no_grad():
        assert torch.equal(tcomp.compile(made, (torch.ones(3),), fallback="silent")(x), made(y))
    assert torch.equal(x, y)
