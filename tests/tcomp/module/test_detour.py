"""Modules that cannot be recorded go through Dynamo, with one warning that says why, and to the original where that fails too."""

import dataclasses
import warnings

import pytest
import torch
from compiled import Function, random
from torch import nn

import tcomp
from tcomp.module import graphs


class Store:
    """An object that no pytree knows, such as a cache of keys and values."""

    def __init__(self):
        self.value = None


@dataclasses.dataclass
class Output:
    value: torch.Tensor


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Layer(nn.Module):
    def __init__(self, output=Output):
        super().__init__()
        self.output = output
        self.linear = nn.Linear(8, 8).requires_grad_(False)

    def forward(self, x, store=None):
        y = self.linear(x).relu()
        if store is not None:
            store.value = y + (0 if store.value is None else store.value)
        return self.output(y * 2)


def branch_on_values(x):
    return x.relu() if x.sum() > 0 else x.sigmoid()


def test_objects_that_no_pytree_knows_come_and_go():
    module = Layer()
    compiled = tcomp.compile(module, fallback="silent")
    ours, theirs = Store(), Store()
    for seed in range(3):
        x = random(4, 8, seed=seed)
        torch.testing.assert_close(compiled(x, ours).value, module(x, theirs).value)
        torch.testing.assert_close(ours.value, theirs.value)
    assert isinstance(compiled(random(4, 8)), Output)
    assert len(compiled.programs) == 3 and not compiled.detours and not compiled.fallbacks


@pytest.mark.parametrize(
    ("module", "args", "why"),
    [
        (Layer(Slotted), (random(4, 8),), "an output of type Slotted"),
        (Layer(), (random(4, 8), Slotted(None)), "an input of type Slotted"),
        (Function(branch_on_values), (random(4),), "depends on the values of a tensor"),
        (Function(lambda x: x.diagonal().resize_(3).mul(2)), (random(4, 4),), "changes the shape of a tensor in place"),
    ],
)
def test_one_warning_says_why(module, args, why):
    with pytest.warns(UserWarning, match=f"{why}.*, so the call goes through torch.compile") as seen:
        compiled = tcomp.compile(module, args)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for _ in range(2):
            compiled(*args)
    assert why in tcomp.explain(compiled) and "through torch.compile" in tcomp.explain(compiled)
    assert why in compiled.detours[0]
    with pytest.raises(tcomp.TcompError, match=why):
        tcomp.compile(module, args, fallback="error")
    with pytest.raises(tcomp.TcompError, match=why):
        tcomp.compile(module, fallback="error")(*args)


def test_what_fails_on_fakes_alone_goes_through_dynamo():
    class Failing(nn.Module):
        def forward(self, x):
            y = x + 1
            if type(y) is not torch.Tensor and not torch.compiler.is_compiling():
                raise TypeError("no fakes here")
            return y * 2

    with pytest.warns(UserWarning, match=r"TypeError: no fakes here.*goes through torch\.compile"):
        compiled = tcomp.compile(Failing(), (torch.ones(3),))
    torch.testing.assert_close(compiled(torch.ones(3)), torch.full((3,), 4.0))
    assert len(compiled.graphs) == 1


def test_what_eager_refuses_too_is_eagers_error():
    def choose(x):
        if x.shape[0] == 3:
            raise KeyError("three")
        return x + 1

    with pytest.raises(tcomp.TcompError, match="three"):
        tcomp.compile(Function(choose), (torch.ones(3),))
    compiled = tcomp.compile(Function(choose), fallback="silent")
    for _ in range(2):
        with pytest.raises(KeyError, match="three"):
            compiled(torch.ones(3))
    torch.testing.assert_close(compiled(torch.ones(4)), torch.full((4,), 2.0))
    assert len(compiled.programs) == 1 and not compiled.graphs


def test_where_dynamo_fails_the_original_runs(monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("no graph for you")

    monkeypatch.delenv("TCOMP_RAISE_FAULTS", raising=False)
    monkeypatch.setattr(graphs, "compile_functional", fail)
    torch._dynamo.reset()
    module = Layer(Slotted)
    compiled = tcomp.compile(module)
    for count in (2, 0):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.testing.assert_close(compiled(random(4, 8)).value, module(random(4, 8)).value)
        assert len([w for w in seen if str(w.message).startswith("tcomp: ")]) == count
    assert "torch.compile fails (BackendCompilerFailed: " in tcomp.explain(compiled)


def test_where_dynamo_fails_after_a_write_nothing_is_computed_twice(monkeypatch):
    real, made = graphs.compile_functional, []

    def fail_later(*args, **kwargs):
        made.append(0)
        if len(made) > 1:
            raise ValueError("no second graph")
        return real(*args, **kwargs)

    def write(x):
        x.add_(1)
        torch._dynamo.graph_break()
        return Slotted(x * 2)

    monkeypatch.delenv("TCOMP_RAISE_FAULTS", raising=False)
    monkeypatch.setattr(graphs, "compile_functional", fail_later)
    torch._dynamo.reset()
    x = torch.ones(3)
    with pytest.raises(Exception, match="no second graph"):
        tcomp.compile(Function(write), fallback="silent")(x)
    torch.testing.assert_close(x, torch.full((3,), 2.0))


def test_numbers_divided_by_torch():
    """What divides two numbers is a tensor of Dynamo's, made within its graph."""
    module = Function(lambda x: x.view(torch.div(x.shape[0], 2, rounding_mode="trunc"), -1) * 2)
    x = random(8, 4)
    compiled = tcomp.compile(module, (x,), fallback="silent")
    torch.testing.assert_close(compiled(x), module(x))
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(module, backend="tcomp")(x), module(x))


def test_however_many_modules_there_are_each_is_compiled():
    """Dynamo counts by code objects what it has compiled, those of torch.nn too, and leaves more than 8 of one to eager."""
    for size in range(1, 11):
        module = nn.Linear(2, size).requires_grad_(False)
        module.register_forward_hook(lambda *_: None)
        compiled = tcomp.compile(module, fallback="silent")
        compiled(torch.ones(size, 2))
        (graph,) = compiled.graphs
        assert not graph.symbols, "sizes of one are not those of another"
