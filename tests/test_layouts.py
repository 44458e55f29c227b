"""What names places in memory after operators whose layout only eager knows is left to eager, with all that leads there."""

import pytest
import torch
from compiled import Function, random
from torch.fx.experimental.proxy_tensor import make_fx

import tcomp
from tcomp.layouts import UnsureLayout, find_unsure_layouts

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
