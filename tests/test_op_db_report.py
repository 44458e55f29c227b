"""The report on op_db counts what lowers, what is missing and what is wrong."""

import pytest
import torch

from tcomp.lowerings import LOWERINGS
from tests.lowering_support import capture
from tests.op_db_report import find_foreign, is_random, print_report, run

aten = torch.ops.aten


def test_a_small_run_is_all_right():
    report = run("sinh", limit=2)
    assert report.core > 0
    assert (report.lowered, report.checked, report.wrong) == (report.core, report.core, [])
    assert report.share() == 1.0


def test_wrong_values_are_listed(monkeypatch):
    monkeypatch.setitem(LOWERINGS, aten.sinh.default, LOWERINGS[aten.cosh.default])
    report = run("sinh", limit=1)
    assert report.checked < report.lowered
    assert any(text.startswith("sinh[float32] 0") for text in report.wrong)


def test_missing_operators_are_counted(monkeypatch, capsys):
    monkeypatch.delitem(LOWERINGS, aten.sinh.default)
    report = run("sinh", limit=1)
    assert report.lowered < report.core
    assert list(report.missing) == ["aten.sinh.default: the operator aten.sinh.default has no lowering"]
    print_report(report, verbose=False)
    assert "has no lowering" in capsys.readouterr().out


def test_a_lowering_that_fails_is_listed(monkeypatch):
    monkeypatch.setitem(LOWERINGS, aten.sinh.default, lambda build, x: x.nothing)
    report = run("sinh", limit=1)
    assert any("lowering failed with AttributeError" in text for text in report.wrong)


@pytest.mark.parametrize(
    ("function", "foreign"),
    [(torch.sin, []), (torch.special.i0, ["aten.i0.default"]), (lambda x: x.view(-1)[: x.shape[0]], [])],
    ids=["core", "beyond", "views"],
)
def test_operators_beyond_core_aten_are_told_apart(function, foreign):
    assert find_foreign(capture(function, torch.randn(3))) == foreign


def test_random_numbers_and_uninitialised_memory_are_seen():
    assert is_random(capture(torch.rand_like, torch.randn(3)))
    assert is_random(capture(torch.empty_like, torch.randn(3), decompose=False))
    assert not is_random(capture(torch.sin, torch.randn(3)))
