"""What names places in memory after operators whose layout only eager knows is left to eager, with all that leads there."""

import pytest
import torch
from compiled import Function, random
from torch.fx.experimental.proxy_tensor import make_fx

import tcomp
from tcomp.stages.layouts import UnsureLayout, find_unsure_layouts

PROGRAMS = {
    "rolled": lambda x: x.roll(-1, 0).as_strided((5, 10), (4, 1), 0),
    "rolled after a sum": lambda x: (x + 1).roll((1, 1), (1, 2)).as_strided((3, 7), (2, 1), 1) * 2,
    "rolled and added": lambda x: (x.roll(1, 2) + x).as_strided((20,), (3,)).sum(),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format], ids=str)
def test_places_in_memory(name, order):
    x = random(2, 5, 2, 5).to(memory_format=order)
    function = PROGRAMS[name]
    torch._dynamo.reset()
    for compiled in (
        tcomp.compile(Function(function), (x,), fallback="silent"),
        torch.compile(function, backend="tcomp", options={"fallback": "silent"}),
    ):
        torch.testing.assert_close(compiled(x), function(x))
    if order is torch.contiguous_format:
        tcomp.compile(Function(function), (x,), fallback="error")
    else:
        with pytest.raises(tcomp.Unsupported, match="known to eager alone") as caught:
            tcomp.compile(Function(function), (x,), fallback="error")
        assert "contiguous()" in caught.value.help


def test_what_leads_there_is_found():
    x = random(2, 5, 2, 5).to(memory_format=torch.channels_last)
    graph = make_fx(lambda x: ((x * 2).roll(1, 0).as_strided((4,), (1,)), x + 1), tracing_mode="fake")(x).graph
    found = find_unsure_layouts(graph)
    assert [node.name for node in found] == ["mul", "roll", "as_strided"]
    assert all(isinstance(error, UnsureLayout) for error in found.values())
    assert not find_unsure_layouts(make_fx(lambda x: x.as_strided((4,), (1,)), tracing_mode="fake")(x).graph)


def test_pooling_to_one_place_after_norms_is_compiled():
    """PyTorch gives its result the strides of channels last by as_strided; norms lay out what they return as is known."""
    layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    module = torch.nn.Sequential(*layers).eval().requires_grad_(False)
    x = random(2, 3, 9, 9).to(memory_format=torch.channels_last)
    compiled = tcomp.compile(module, (x,), fallback="error", dynamic=False)
    torch.testing.assert_close(compiled(x), module(x))
    with pytest.warns(UserWarning, match="anew for each set of sizes: what is where in memory"):
        compiled = tcomp.compile(module, (x,), fallback="error", dynamic=True)
    torch.testing.assert_close(compiled(x), module(x))


STORAGES = {
    "a view": lambda x: x.as_strided((2, 3), (3, 1)),
    "a place": lambda x: x.as_strided((2, 3), (3, 1), 2) * 2,
    "of a view": lambda x: x[1:].as_strided((2, 3), (3, 1)) + 1,
    "written to": lambda x: torch.as_strided_scatter(x, torch.zeros(2, 2), (2, 2), (3, 1), 2),
}


@pytest.mark.parametrize("name", STORAGES)
@pytest.mark.parametrize("first", [0, 1])
def test_inputs_that_begin_elsewhere_in_their_storage(name, first):
    function, storage = STORAGES[name], torch.arange(40.0)
    inputs = [storage[start : start + 12].view(3, 4) for start in (0, 1, 2, 0)][first:]
    torch._dynamo.reset()
    for compiled in (
        tcomp.compile(Function(function), (inputs[0],), fallback="silent"),
        torch.compile(function, backend="tcomp", options={"fallback": "silent"}),
    ):
        with torch.no_grad():
            for x in inputs:
                torch.testing.assert_close(compiled(x), function(x), rtol=0, atol=0)
