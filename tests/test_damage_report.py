"""Damaged files and killed processes do no harm, and the report would see it if they did."""

import random
import time
import warnings

import pytest

import tcomp
from tests import damage_report
from tests.damage_report import Case, damage, is_good, make_cases, print_report, run_cases


def test_a_sample_of_damages_does_no_harm(tmp_path):
    found = run_cases(make_cases(30, 2, seed=7), tmp_path)
    assert len(found) == 32
    assert [(case, answer) for case, answer in found if not is_good(answer)] == []
    # Not every damage is one to what is read, and some must be refused.
    assert sum(answer == "refused" for _, answer in found) >= 5


def test_damages_change_something():
    data = bytes(range(256)) * 10
    assert all(damage(data, random.Random(seed)) != data for seed in range(200))


@pytest.mark.parametrize(("error", "shown"), [(KeyError("lost"), "a raw error: KeyError: 'lost'"), (None, "it crashed")])
def test_raw_errors_and_crashes_are_found(monkeypatch, tmp_path, error, shown):
    def fail(*given):
        if error is None:
            damage_report.os.kill(damage_report.os.getpid(), 11)
        raise error

    monkeypatch.setattr(tcomp, "load", fail)
    ((_, answer),) = run_cases([Case("saved", 1)], tmp_path)
    assert answer.startswith(shown)


def test_more_than_one_warning_of_a_damaged_cache_is_found(monkeypatch, tmp_path):
    def warn(module, inputs):
        for number in range(2):
            warnings.warn(f"warning {number}", stacklevel=1)
        return module

    run_cases([], tmp_path)
    monkeypatch.setattr(tcomp, "compile", warn)
    assert damage_report.compile_from_damaged(Case("cache", 1), tmp_path / "cache", tmp_path) == "2 warnings: warning 0"


def test_kills_reach_compiling_and_saving(monkeypatch, tmp_path):
    run_for = damage_report._run_for

    def run_longer(*given):
        # The process that is to be killed never ends by itself, however late the kill comes on a busy machine.
        with monkeypatch.context() as patch:
            patch.setattr(tcomp, "load", lambda *given: time.sleep(damage_report.SECONDS))
            return run_for(*given)

    monkeypatch.setattr(damage_report, "_run_for", run_longer)
    monkeypatch.setattr(damage_report, "COMPILING", 0.5)
    compiling, saving = (answer for _, answer in run_cases([Case("kill", 0), Case("kill", 1)], tmp_path))
    assert compiling == "right, compiling"
    assert saving.removesuffix(", file there") == "right, saving"


def test_leftovers_are_found(tmp_path):
    for name in ("cache", "temporary", "saved"):
        (tmp_path / name).mkdir()
    (tmp_path / "temporary" / "tcomp-private-1").mkdir()
    shelf = tmp_path / "cache" / "kernels" / "ab"
    shelf.mkdir(parents=True)
    (shelf / f"{'ab' * 32}-{'cd' * 16}.so").write_bytes(b"")
    (tmp_path / "cache" / "kernels" / "building-1").mkdir()
    (tmp_path / "saved" / "program.tcomp.part").write_bytes(b"")
    (tmp_path / "saved" / "program.tcomp").write_bytes(b"")
    assert {path.name for path in damage_report._list_leftovers(tmp_path)} == {"tcomp-private-1", "program.tcomp.part", "building-1"}


def test_the_report_counts(capsys):
    print_report([(Case("saved", 1), "right"), (Case("saved", 2), "refused"), (Case("cache", 3), "a wrong result")])
    text = capsys.readouterr().out
    assert "saved  2 cases: 1 right, 1 refused" in text
    assert "cache 3: a wrong result" in text
