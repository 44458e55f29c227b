"""Samples of op_db are traced and told apart."""

import pytest
import torch

from tests.lowering_support import capture
from tests.op_db_samples import Sample, Untraced, find_entries, find_foreign, find_samples, is_random, trace


@pytest.mark.parametrize(
    ("function", "foreign"),
    [
        (torch.sin, []),
        (torch.special.i0, ["aten.i0.default"]),
        (lambda x: x.view(-1)[: x.shape[0]], []),
        (lambda x: torch.fft.fft(x).real, ["aten.view_as_real.default"]),
    ],
    ids=["core", "beyond", "views", "complex"],
)
def test_operators_beyond_core_aten_are_told_apart(function, foreign):
    assert set(foreign) <= set(find_foreign(capture(function, torch.randn(3))))
    assert foreign or not find_foreign(capture(function, torch.randn(3)))


def test_random_numbers_and_uninitialised_memory_are_seen():
    assert is_random(capture(torch.rand_like, torch.randn(3)))
    assert is_random(capture(torch.empty_like, torch.randn(3), decompose=False))
    assert not is_random(capture(torch.sin, torch.randn(3)))


def test_samples_are_the_same_every_time():
    (entry,) = find_entries("nn.functional.softsign")
    first, second = list(find_samples(entry, 2)), list(find_samples(entry, 2))
    assert [s.name for s in first[:2]] == ["nn.functional.softsign[float32] 0", "nn.functional.softsign[float32] 1"]
    for a, b in zip(first, second, strict=True):
        assert isinstance(a, Sample)
        assert all(torch.equal(x, y) for x, y in zip(a.wanted, b.wanted, strict=True))


def test_what_torch_refuses_is_untraced():
    assert trace("x", lambda x: x @ x, [torch.zeros(2, 3)]) == Untraced("x", "RuntimeError")
