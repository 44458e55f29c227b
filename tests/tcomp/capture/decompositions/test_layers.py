"""Layers that PyTorch fuses for inference are taken apart and compile, and compute what the fused operators do."""

import pytest
import torch
from compiled import check, random
from torch import nn
from torch.utils._pytree import tree_leaves

import tcomp
from tcomp.capture.decompositions import layers

FUTURE = torch.ones(6, 6).triu(1).bool()
PADDING = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
NOTHING = torch.tensor([[False] * 6, [True] * 6])


class Attention(nn.Module):
    """Attention of an input to itself, or to another one."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True).requires_grad_(False)
        self.options = options
        self.eval()

    def forward(self, x, *others):
        return self.attention(x, *(others or (x, x)), **self.options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"need_weights": False},
        {"average_attn_weights": False},
        {"attn_mask": FUTURE},
        {"key_padding_mask": PADDING, "need_weights": False},
        {"key_padding_mask": NOTHING},
        {"key_padding_mask": PADDING, "attn_mask": FUTURE},
        {"attn_mask": random(6, 6)},
    ],
)
def test_attention_of_an_input_to_itself(options):
    check(Attention(**options), random(2, 6, 8))


def test_attention_to_others():
    check(Attention(), random(2, 5, 8), random(2, 6, 8, seed=1), random(2, 6, 8, seed=2))


def test_attention_of_nothing():
    module = Attention(need_weights=False)
    compiled = tcomp.compile(module, (random(0, 6, 8),), fallback="error")
    assert compiled(random(0, 6, 8))[0].shape == (0, 6, 8)
    torch.testing.assert_close(compiled(random(2, 6, 8))[0], module(random(2, 6, 8))[0])


@pytest.mark.parametrize(("norm_first", "activation"), [(False, "relu"), (True, "gelu")])
def test_encoders(norm_first, activation):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first, activation=activation)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval().requires_grad_(False)
    compiled = check(encoder, random(2, 6, 8))
    assert compiled.kernels
    inputs = {"src": random(2, 6, 8), "mask": FUTURE, "is_causal": True}
    compiled = tcomp.compile(encoder, inputs, fallback="error")
    torch.testing.assert_close(compiled(**inputs), encoder(**inputs))


def test_padding_that_eager_takes_out_stays_with_eager():
    """With nested tensors, eager gives 0 where there is padding; torch.compile takes another way, and gives something else."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval().requires_grad_(False)
    with pytest.warns(UserWarning, match=r"tcomp: .*nested.*goes to the original module"):
        compiled = tcomp.compile(encoder, {"src": random(2, 6, 8), "src_key_padding_mask": PADDING})
    with torch.no_grad():
        got, want = (run(random(2, 6, 8), src_key_padding_mask=PADDING) for run in (compiled, encoder))
    torch.testing.assert_close(got, want)
    assert not got[1, 4:].any()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}, {"bidirectional": True}]
)
def test_recurrent_layers(kind, options):
    torch.manual_seed(0)
    module = kind(4, 8, **options).eval().requires_grad_(False)
    check(module, random(3, 3, 4))
    check(module, random(5, 4))


def test_recurrent_layers_begin_where_they_are_told():
    torch.manual_seed(0)
    module = nn.LSTM(4, 8, proj_size=3).eval().requires_grad_(False)
    inputs = random(5, 2, 4), (random(1, 2, 3, seed=1), random(1, 2, 8, seed=2))
    got, want = (tree_leaves(run(*inputs)) for run in (tcomp.compile(module, inputs, fallback="error"), module))
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_steps_are_rolled_up():
    module = nn.LSTM(8, 8).eval().requires_grad_(False)
    kernels = [len(check(module, random(steps, 2, 8)).kernels) for steps in (6, 40)]
    assert kernels[0] == kernels[1]


@pytest.mark.parametrize("shape", [(layers.MOST_STEPS + 1, 1, 4), (3, layers.MOST_ROWS + 1, 4)])
def test_long_and_broad_ones_stay_whole(shape):
    module = nn.LSTM(4, 8).eval().requires_grad_(False)
    compiled = check(module, random(*shape), fallback="silent")
    assert {fallback.operator for fallback in compiled.fallbacks} == {"aten.mkldnn_rnn_layer.default"}
