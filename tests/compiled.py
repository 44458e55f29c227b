"""What the tests of compiled modules share: a cache of their own, small modules, and the comparison with eager."""

import copy

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_structure

import tcomp


class Function(nn.Module):
    """A module of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def make_linear() -> nn.Module:
    """Linear(8, 8) + ReLU with fixed weights."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU()).requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check_same(got, want) -> None:
    """Values, dtypes, shapes, strides and structure agree."""
    assert tree_structure(got) == tree_structure(want)
    for ours, theirs in zip(tree_leaves(got), tree_leaves(want), strict=True):
        if isinstance(theirs, torch.Tensor):
            torch.testing.assert_close(ours, theirs, check_stride=True, equal_nan=True)
        else:
            assert type(ours) is type(theirs)
            assert ours == theirs


def check(module, *inputs, compiled=None, **options):
    """Compile (unless given), call twice, and compare results, inputs and buffers afterwards with eager on copies."""
    module = module if isinstance(module, nn.Module) else Function(module)
    compiled = compiled or tcomp.compile(module, inputs, fallback=options.pop("fallback", "error"), **options)
    reference = copy.deepcopy(module)
    with torch.no_grad():
        for _ in range(2):
            ours, theirs = ([_clone(leaf) for leaf in inputs] for _ in range(2))
            got, want = compiled(*ours), reference(*theirs)
            check_same(got, want)
            check_same(ours, theirs)
            check_same(dict(module.state_dict()), dict(reference.state_dict()))
    return compiled


def _clone(leaf):
    if not isinstance(leaf, torch.Tensor):
        return leaf
    memory = torch.empty(0, dtype=leaf.dtype).set_(leaf.untyped_storage().clone())
    return memory.as_strided(leaf.shape, leaf.stride(), leaf.storage_offset())
