"""`tcomp profile`: a table on the terminal, JSON and a trace in files."""

import json

import pytest
import torch
from click.testing import CliRunner

from tcomp.cli import main as cli
from tcomp.codegen.c.roofline import Rate, Roofline

MACHINE = Roofline(1, (("f32", 100e9), ("f64", 50e9)), (Rate(1 << 14, 400e9, 300e9), Rate(1 << 27, 20e9, 15e9)))


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr("tcomp.profiling.measure.find_roofline", lambda *arguments, **named: MACHINE)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(*arguments):
    return CliRunner().invoke(cli.main, ["profile", *map(str, arguments)])


def test_table_json_and_trace(tmp_path):
    result = run("zoo:mlp:small", "--repeat", 3, "--threads", 1, "--json", tmp_path / "p.json", "--trace", tmp_path / "t.json")
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "p.json").read_text())
    events = [event for event in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in events] == [row["name"] for row in data["rows"]]
    assert (data["rounds"], data["threads"]) == (3, 1)
    lines = [line.split() for line in result.output.splitlines()]
    assert [line[1] for line in lines if line and line[0].isdecimal()] == [row["name"] for row in data["rows"]]
    assert "medians of 3 rounds" in result.output and "roofline: 100 GFLOP/s in f32" in result.output
    assert sum(row["operations"] for row in data["rows"]) == data["total"]["operations"] > 0


def test_rows_by_time():
    result = run("zoo:mlp:small", "--runs", 1, "--sort", "time")
    times = [line.partition("±")[0].split()[-1] for line in result.output.splitlines() if line.strip()[:1].isdecimal() and "±" in line]
    assert len(times) > 1 and sorted(map(float, times), reverse=True) == list(map(float, times))


def test_what_cannot_be_profiled_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("TCOMP_CHECK_KERNELS", "1")
    monkeypatch.delenv("TCOMP_DEBUG", raising=False)
    result = run("zoo:mlp:small")
    assert result.exit_code == 1
    assert "Error: programs that check their kernels" in result.output and "help: compile without it" in result.output


def test_a_file_that_cannot_be_written_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.delenv("TCOMP_DEBUG", raising=False)
    result = run("zoo:mlp:small", "--runs", 1, "--json", tmp_path / "missing" / "p.json")
    assert result.exit_code == 1 and "cannot write" in result.output


def test_a_schedule_and_a_program_are_one_too_many(tmp_path):
    for name in ("schedule", "program"):
        (tmp_path / name).write_text("")
    result = run("zoo:mlp:small", "--schedule", tmp_path / "schedule", "--program", tmp_path / "program")
    assert result.exit_code == 2 and "give one of them" in result.output
