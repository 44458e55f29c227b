"""What operations in place do to the layout of a weight is seen, whatever mode asks."""

import pytest
import torch

import tcomp
from tcomp.runtime.binding.guards import Layouts, make_guards


def x():
    return torch.arange(4.0).view(2, 2)


CHANGES = {
    "transposed": lambda w: w.t_(),
    "data transposed": lambda w: setattr(w, "data", w.data.T),
    "another type": lambda w: setattr(w, "data", w.data.view(torch.int32)),
    "resized": lambda w: w.resize_(1, 2),
    "expanded": lambda w: setattr(w, "data", w.data[:1].expand(3, 2)),
    "another rank": lambda w: w.unsqueeze_(0),
    "a slice": lambda w: setattr(w, "data", w.data[:1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(change):
    tensors = [torch.ones(3), x()]
    layouts = Layouts(tensors)
    assert layouts.hold()
    CHANGES[change](tensors[1])
    assert not layouts.hold()


def test_modes_are_no_change():
    layouts = Layouts([x(), torch.nn.Parameter(x())])
    with torch.no_grad():
        assert layouts.hold()
    with torch.inference_mode():
        assert layouts.hold() and layouts.hold()
    assert layouts.hold()
    assert Layouts([]).hold()


def test_guards_of_several_tensors():
    check = make_guards((x(), torch.ones(3)))
    assert check(x(), torch.ones(3)) and not check(torch.ones(3), x()) and not check(x(), torch.ones(4))


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("w", x())
        self.plain = x()

    def forward(self, y):
        return y * self.w + (y * self.plain).sum()


@pytest.mark.parametrize("name", ["w", "plain"])
@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_a_program_is_not_stale(change, name):
    module = Scaled()
    compiled = tcomp.compile(module)
    y = torch.full((1, 1), 3.0)
    for _ in range(3):
        compiled(y)
    CHANGES[change](getattr(module, name))
    got, want = compiled(y), module(y)
    assert got.dtype == want.dtype and torch.equal(got, want)
