"""The report on planted faults: what it counts, and how it goes on; `python -m tests.fuzz_report` plants them all."""

import pytest

from tcomp.fuzz.faults.catalogue import FAULTS
from tests import fuzz_report
from tests.fuzz_report import Outcome, choose_faults, describe, parse_options, parse_seconds, run, search

FIRST, SECOND = list(FAULTS)[:2]


def test_faults_are_taken_evenly_and_mutants_come_after_them():
    names = choose_faults(3, 2)
    assert len(names) == 5 and names[0] == FIRST and names[3:] == ["mutant:0", "mutant:1"]
    assert choose_faults(10_000, 0) == list(FAULTS)
    assert {FAULTS[name].kind for name in choose_faults(10_000, 0, "threads")} == {"threads"}


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("20s", 20.0), ("10m", 600.0)])
def test_durations(text, seconds):
    assert parse_seconds(text) == seconds
    assert parse_options(["--time", text]).time == seconds


def test_shares_medians_and_what_was_not_found_are_told():
    found = [Outcome(FIRST, "a", "joint", s, t, "tiles", "b") for s, t in ((2.0, 10), (30.0, 50))]
    text = describe([*found, Outcome(SECOND, "b", "joint", 60.0, 90)], 60.0)
    lines = text.splitlines()
    assert lines[:3] == ["2 of 3 faults found (66.7%), strategy joint", "after 10 s: 33.3%", "after 1 min: 66.7%"]
    assert lines[3] == "median of those that were found: 16.0 s, 30 tests"
    assert "| tiles | 2 |" in lines and "| a | 2 | 2 | 30 |" in lines and "| b | 1 | 0 |  |" in lines
    assert f"{SECOND} ({FAULTS[SECOND].module}, b; 90 tests)" in lines
    assert f"  - {FAULTS[SECOND].old}" in lines and f"  + {FAULTS[SECOND].new}" in lines


def test_what_is_kept_is_not_searched_for_again(monkeypatch, tmp_path):
    asked = []

    def find(name, strategy, seconds, native):
        asked.append(name)
        return Outcome(name, "a", strategy, 1.0, 1, "tiles", "b")

    monkeypatch.setattr(fuzz_report, "search", find)
    path = str(tmp_path / "kept")
    once = list(run([FIRST], "joint", 1.0, 0, keep=path))
    twice = list(run([FIRST, SECOND], "joint", 1.0, 0, keep=path))
    assert asked == [FIRST, SECOND] and twice[0] == once[0] and [o.name for o in twice] == [FIRST, SECOND]
    assert [o.strategy for o in run([FIRST], "random", 1.0, 0, keep=path)] == ["random"] and asked[2:] == [FIRST]


def test_a_fault_is_found_by_a_campaign():
    outcome = search("a view is read at its own places", "nnsmith", 600.0, 0, tests=60)
    assert outcome.oracle and 0 < outcome.tests <= 60
