"""A compiled module is the original with another way to compute: names, modes, copies and hooks stay."""

import copy
import pickle

import pytest
import torch
from compiled import Function, check, make_linear, random
from torch import nn

import tcomp


def test_it_is_a_module_with_the_names_of_the_original():
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),))
    assert isinstance(compiled, nn.Module)
    assert list(compiled.state_dict()) == list(module.state_dict())
    assert next(compiled.parameters()) is next(module.parameters())
    assert compiled.get_submodule("0") is module[0]
    compiled.train()
    assert module.training
    assert module[1].training
    compiled.eval()
    assert not module.training
    assert not module[1].training
    with pytest.raises(AttributeError):
        compiled.nothing  # noqa: B018 (the access is the test)


def test_what_is_assigned_to_it_is_the_originals():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.layer = 2.0, nn.ReLU()

        def forward(self, x):
            return self.layer(x) * self.scale

    original = Scale()
    compiled = tcomp.compile(original, (torch.ones(2),), fallback="error")
    compiled.scale = 5.0
    assert original.scale == compiled.scale == 5.0 and compiled(torch.ones(2)).tolist() == [5.0, 5.0]
    compiled.layer = nn.Tanh()
    assert original.layer is compiled.layer and isinstance(original.layer, nn.Tanh)
    compiled.eval()
    assert not original.training and not compiled.training
    del compiled.scale
    assert not hasattr(original, "scale")
    options = compiled.options
    compiled.options = options
    assert not hasattr(original, "options")


def test_it_can_be_part_of_a_module():
    module = make_linear()
    outer = nn.Sequential(tcomp.compile(module), nn.Tanh())
    with torch.no_grad():
        torch.testing.assert_close(outer(random(4, 8)), module(random(4, 8)).tanh())
    assert list(outer.state_dict()) == ["0.0.weight", "0.0.bias"]


def test_compiling_twice_compiles_the_original():
    module = make_linear()
    assert tcomp.compile(tcomp.compile(module)).original is module


def test_the_original_can_be_copied_and_pickled():
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(compiled(random(4, 8)), other(random(4, 8)))
    copied = copy.deepcopy(compiled)
    copied.original[0].weight.zero_()
    assert compiled(random(4, 8)).abs().sum() > 0
    check(copied.original, random(4, 8), compiled=copied)
    with pytest.raises(tcomp.TcompError, match="cannot be pickled"):
        pickle.dumps(compiled)


@pytest.mark.filterwarnings("ignore")
def test_hooks_that_come_and_go_are_seen():
    module, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.randn(2, 4)
    compiled = tcomp.compile(module)
    with torch.no_grad():
        module[0].register_forward_hook(lambda module, args, result: result * 2)
        torch.testing.assert_close(compiled(x), module(x))
        second = module[1].register_forward_hook(lambda module, args, result: result + 1)
        torch.testing.assert_close(compiled(x), module(x))
        second.remove()
        torch.testing.assert_close(compiled(x), module(x))


def test_hooks_run_and_calls_go_through_torch_compile():
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),))
    seen = []
    handle = module[0].register_forward_hook(lambda *arguments: seen.append(tuple(arguments[2].shape)))
    with pytest.warns(UserWarning, match="hooks"), torch.no_grad():
        torch.testing.assert_close(compiled(random(4, 8)), module(random(4, 8)))
    assert seen == [(4, 8), (4, 8)]
    handle.remove()
    with torch.no_grad():
        compiled(random(4, 8))
    assert len(seen) == 2


def test_nothing_is_compiled_before_the_first_call():
    compiled = tcomp.compile(make_linear())
    assert compiled.programs == ()
    assert (compiled.cascade, compiled.kernels, compiled.memory.arena) == ("", (), 0)
    with pytest.raises(tcomp.TcompError, match="nothing has been compiled"):
        tcomp.explain(compiled)


def test_values_that_are_equal_but_of_other_types_are_other_programs():
    compiled = tcomp.compile(Function(lambda x, n: x * n))
    x = torch.arange(3)
    for value in (1, True, 1.0):
        result = compiled(x, value)
        assert result.dtype == (x * value).dtype
    assert len(compiled.programs) == 3


@pytest.mark.parametrize("order", [(False, True), (True, False), (False, True, False)])
@pytest.mark.parametrize("part", ["real", "imag"])
def test_views_of_conjugated_inputs_are_as_in_eager(part, order):
    """Whether the imaginary part is a view depends on the conjugate bit, in whatever order they come."""

    class Part(torch.nn.Module):
        def forward(self, z):
            return getattr(z, part)

    z = torch.tensor([1 + 2j])
    compiled = tcomp.compile(Part())
    for is_conjugated in order:
        given = z.conj() if is_conjugated else z
        got, want = compiled(given), Part()(given)
        assert torch.equal(got, want) and got.is_neg() == want.is_neg()
        assert got.untyped_storage().data_ptr() == z.untyped_storage().data_ptr()


@pytest.mark.parametrize("way", ["compile", "dynamo"])
def test_integers_become_the_default_type(way):
    class Mixed(torch.nn.Module):
        def forward(self, x):
            return x / 3, x * 1.1, x.exp(), x**0.5, (x / 7).mean(), x > 1.5

    x = torch.arange(1, 6)
    torch.set_default_dtype(torch.float64)
    try:
        compiled = tcomp.compile(Mixed()) if way == "compile" else torch.compile(Mixed(), backend="tcomp")
        for got, want in zip(compiled(x), Mixed()(x), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-15, atol=0.0)
    finally:
        torch.set_default_dtype(torch.float32)
