"""The comparison that the tests of lowerings rely on sees differences."""

import pytest
import torch

from tcomp.lowerings import LOWERINGS
from tests.lowering_support import capture, check, find_mismatch

aten = torch.ops.aten


def test_the_check_sees_a_wrong_lowering(monkeypatch):
    monkeypatch.setitem(LOWERINGS, aten.sin.default, LOWERINGS[aten.cos.default])
    with pytest.raises(AssertionError, match="is not"):
        check(torch.sin, torch.randn(3))


@pytest.mark.parametrize(
    ("got", "want", "terms"),
    [
        (torch.zeros(2), torch.zeros(3), 0),
        (torch.zeros(2, dtype=torch.float64), torch.zeros(2), 0),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), 0),
        (torch.tensor([1.0, 1.00001]), torch.tensor([1.0, 1.0]), 3),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 1.0]), 3),
        (torch.tensor([1.0, 1.0]), torch.tensor([1.0, float("inf")]), 3),
    ],
)
def test_differences_are_seen(got, want, terms):
    assert find_mismatch(got.numpy(), want, terms) is not None
    assert find_mismatch(want.numpy(), want, terms) is None


def test_decompositions_that_write_in_place_are_made_functional():
    graph = capture(lambda x: torch.nn.functional.huber_loss(x, x + 3), torch.randn(3))
    assert not any(getattr(n.target, "_schema", None) and n.target._schema.is_mutable for n in graph.graph.nodes)
