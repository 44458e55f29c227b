"""The machine is measured once for each number of threads; what is damaged, or of another machine, is measured again."""

import json

import pytest

from tcomp.codegen.c.roofline import Rate, Roofline
from tcomp.machine import roofline as module
from tcomp.machine.roofline import SUFFIX, find_roofline
from tests.c_programs import find_compiler
from tests.program_runner import small_target


@pytest.fixture
def measured(monkeypatch):
    """Stands for measuring, and notes for how many threads."""
    noted = []

    def measure(toolchain, target, folder, threads, report):
        noted.append(threads)
        return Roofline(threads, (("f32", 1e9 + len(noted)),), (Rate(1 << 14, 2e9, 1.5e9),))

    monkeypatch.setattr(module, "measure_roofline", measure)
    return noted


def find(folder, threads=1, **options):
    return find_roofline(find_compiler(), small_target(), folder, threads, **options)


def test_it_is_measured_once_for_each_number_of_threads(tmp_path, measured):
    first = find(tmp_path)
    assert find(tmp_path) == first
    assert find(tmp_path, 2).threads == 2
    assert measured == [1, 2]


def test_it_is_measured_again_when_asked_for(tmp_path, measured):
    first = find(tmp_path)
    again = find(tmp_path, again=True)
    assert again != first and find(tmp_path) == again
    assert len(list(tmp_path.glob(f"*/*{SUFFIX}"))) == 1


@pytest.mark.parametrize("damage", ["", "{}", "not JSON", '{"threads": 1, "peaks": 3, "rates": []}'])
def test_a_damaged_entry_is_measured_again(tmp_path, measured, damage):
    find(tmp_path)
    (path,) = tmp_path.glob(f"*/*{SUFFIX}")
    path.write_text(damage)
    find(tmp_path)
    assert measured == [1, 1]


WRONG = ["{}", "[]", "not JSON", '{"threads": 1, "peaks": 3, "rates": []}', '{"threads": 1, "peaks": [], "rates": []}']


@pytest.mark.parametrize("damage", WRONG)
def test_an_entry_that_was_written_wrong_is_measured_again(tmp_path, measured, monkeypatch, damage):
    monkeypatch.setattr(json, "dumps", lambda value: damage)
    find(tmp_path)
    find(tmp_path)
    assert measured == [1, 1]


def test_another_machine_is_measured_itself(tmp_path, measured, monkeypatch):
    find(tmp_path)
    monkeypatch.setattr(module, "read_processor", lambda: "another processor")
    find(tmp_path)
    assert measured == [1, 1]
