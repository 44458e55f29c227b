"""What runs checks and measurements on a GPU: rows that crash, hang or are wrong are caught, and what is known is kept."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import gpu_planted
from tests.gpu import schedule
from tests.gpu.__main__ import main
from tests.gpu.report import Sheet, describe, find_thresholds, is_wrong
from tests.gpu.results import NOT_REACHED, Kernel, Peer, Row, Times, make_plain, write_json
from tests.gpu.schedule import MOST_STARTS, Pool, Section, WorkersFailed, run_section, run_sections
from tests.gpu.show import format_sheet, show

ROOT = Path(__file__).resolve().parent.parent


def run(folder, *names, size=2, seconds=30.0, limit=20.0, is_alone=False, open_table=gpu_planted.open_planted):
    """Run planted rows; returns them by name, in the order in which they ended."""
    found = []
    pool = Pool(open_table, folder, size, lambda about: None)
    section = Section("planted", "planted rows", 1.0, limit, is_alone)
    try:
        run_sections([section], {"planted": [f"planted/{name}" for name in names]}, pool, time.monotonic() + seconds, found.append)
    finally:
        pool.close()
    return found


def test_a_row_that_fails_crashes_or_hangs_is_a_row_that_says_so(tmp_path):
    rows = run(tmp_path, "right", "failed", "crashed", "hung", "wrong", "skipped", "lost", "right", limit=2.0)
    found = [(row.status, row.detail.partition("\n")[0]) for row in rows]
    assert sorted(status for status, _ in found) == ["failed"] * 4 + ["right"] * 2 + ["skipped", "wrong"]
    assert ("failed", "ValueError: no such luck") in found
    assert ("failed", "the worker died, signal SIGSEGV") in found
    assert any(status == "failed" and detail.startswith("took longer than 2") for status, detail in found)
    assert ("failed", "a fault on the GPU") in found
    assert ("skipped", "needs a GPU") in found
    crashed = next(row for row in rows if "SIGSEGV" in row.detail)
    assert "last words" in crashed.detail


def find_sleepers(mark):
    """The processes that a hung row started and whose environment has a mark: other tests hang rows at the same time."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"time.sleep(600)" in command and mark.encode() in environment:
            found.append(folder.name)
    return found


def test_what_a_hung_row_started_ends_with_it(tmp_path, monkeypatch):
    mark = str(tmp_path)
    monkeypatch.setenv("PLANTED_BY", mark)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        while not find_sleepers(mark):
            time.sleep(0.05)
    finally:
        sleeper.kill()
        sleeper.wait()
    run(tmp_path, "hung", size=1, limit=1.5)
    assert find_sleepers(mark) == []


def test_a_peer_that_crashes_is_left_out_and_its_row_runs_again(tmp_path):
    (row,) = run(tmp_path, "peer", size=1)
    assert row.status == "right"
    assert [peer.name for peer in row.peers] == ["good", "bad"]
    assert row.find_peer("bad").failure.startswith("the worker died, signal SIGKILL")


def test_what_is_measured_runs_alone_after_all_is_prepared(tmp_path):
    rows = run(tmp_path, "first", "second", "third", size=2)
    assert [row.detail for row in rows] == ["measured"] * 3
    spans = sorted((row.peers[0].seconds.low, row.peers[0].seconds.high) for row in rows)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_a_row_that_dies_when_measured_keeps_what_it_had(tmp_path):
    (row,) = run(tmp_path, "late", size=1)
    assert (row.status, row.error) == ("failed", 0.5)
    assert "SIGKILL" in row.detail


def test_time_that_is_up_leaves_rows_that_say_so(tmp_path):
    start = time.monotonic()
    rows = run(tmp_path, "right", "hung", "right", size=1, seconds=3.0)
    assert time.monotonic() - start < 15
    assert [(row.status, row.detail) for row in rows] == [("right", ""), *[("skipped", NOT_REACHED)] * 2]


def test_time_that_is_up_at_a_peer_leaves_that_out(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "GRACE", 0.5)
    found = []
    pool = Pool(gpu_planted.open_planted, tmp_path, 1, lambda about: None)
    try:
        now = time.monotonic()
        run_section(Section("planted", "", 1.0, 60.0), ["planted/slow", "planted/right"], pool, now + 2, now + 60, found.append)
    finally:
        pool.close()
    assert {(row.name, row.status, row.detail) for row in found} == {
        ("right", "skipped", NOT_REACHED),
        ("slow", "right", "not done when the time of the section was up"),
    }


@pytest.mark.parametrize(("name", "detail"), [("slow", "so far"), ("stuck", "prepared")])
def test_all_time_that_is_up_keeps_what_a_row_has(tmp_path, name, detail):
    (row,) = run(tmp_path, name, size=1, seconds=2.0)
    assert (row.status, row.detail) == ("right", detail)


def test_workers_that_do_not_start_end_the_run(tmp_path):
    with pytest.raises(WorkersFailed, match="do not start"):
        run(tmp_path, "right", size=1, open_table=gpu_planted.open_nothing)
    assert len(list(tmp_path.glob("worker-*.log"))) == MOST_STARTS


def test_sections_share_the_time_that_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "GRACE", 0.5)
    found = []
    pool = Pool(gpu_planted.open_planted, tmp_path, 1, lambda about: None)
    sections = [Section("planted", "", 1.0, 60.0), Section("more", "", 3.0, 60.0)]
    labels = {"planted": ["planted/right", "planted/hung", "planted/right"], "more": ["planted/right"]}
    try:
        run_sections(sections, labels, pool, time.monotonic() + 12, found.append)
    except KeyboardInterrupt:
        pytest.fail("nobody interrupts")
    finally:
        pool.close()
    # A quarter of the time and some grace for the first; then the second goes on.
    assert [row.status for row in found] == ["right", "skipped", "skipped", "right"]


def cut(tmp_path, number):
    """Run the command over planted rows, the last of which sends it a signal; returns its exit status, output and JSON."""
    code = (
        "import os, signal, sys, tests.gpu.__main__ as command, tests.gpu_planted as planted\n"
        # Shells start what runs in the background deaf to interrupts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tests.gpu.schedule import Section\n"
        "command.CHECKS, command.MEASUREMENTS = (Section('planted', 'rows', 1.0, 60.0),), ()\n"
        "command.list_labels = lambda interpret: {'planted': ['planted/right', 'planted/wrong', 'planted/cut']}\n"
        "command.open_rows = planted.open_planted_for\n"
        f"os.environ[planted.CUT] = f'{{os.getpid()}} {int(number)}'\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )
    arguments = [sys.executable, "-c", code, "--interpret", "--workers", "1", "--out", str(tmp_path)]
    done = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout, json.loads((tmp_path / "results.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_cut_off_keeps_what_it_has(tmp_path, number):
    status, output, document = cut(tmp_path, number)
    assert status == 1, output
    assert "WRONG planted/wrong (error 0.25, eager's 1e-07): 3, not 4" in output
    assert "interrupted" in output
    assert [row["status"] for row in document["rows"]] == ["right", "wrong"]
    assert document["machine"]["gpu"] == "planted"
    assert list(tmp_path.iterdir()) == [tmp_path / "results.json"]


def peer(name, ratio, field="ratio"):
    return Peer(name, **{"seconds": Times(1.0, 1.0, 1.0), field: Times(ratio, ratio, ratio)})


def measured(section, name, *peers, status="right", **more):
    return Row(section, name, status, peers=(Peer("tcomp", seconds=Times(0.9e-3, 1e-3, 1.1e-3)), *peers), **more)


def test_thresholds_are_judged_by_what_was_measured():
    rows = [
        measured("matmul", "bf16-8192", peer("cublas", 0.9)),
        measured("memory", "softmax", peer("copy", 0.95), peer("eager", 3.0)),
        measured("memory", "sum", peer("copy", 0.5)),
        measured("memory", "wrong", peer("copy", 0.1), status="wrong"),
        measured("zoo-max", "bert-bf16", peer("inductor-max", 2.0, "replay_ratio")),
        measured("zoo-max", "vit-bf16", peer("inductor-max", 0.5, "replay_ratio")),
        measured("zoo-f32", "bert", peer("eager", 1.2)),
    ]
    product, memory, best, eager = find_thresholds(rows)
    assert (product.found, product.is_met) == (0.9, True)
    assert (memory.found, memory.is_met) == (0.5, False)
    assert "2 rows, 1 more not measured; below: memory/sum 0.50" in memory.basis
    assert (best.found, best.is_met) == (1.0, True)
    assert (eager.found, eager.is_met) == (1.2, True)
    assert [threshold.is_met for threshold in find_thresholds([])] == [None] * 4


def test_the_better_of_first_and_measured_choice_counts():
    rows = [
        measured("matmul", "bf16-8192", peer("cublas", 0.8)),
        measured("tuned", "matmul-bf16-8192", peer("cublas", 0.81), peer("tuned", 0.9)),
        measured("memory", "sum", peer("copy", 0.9)),
        measured("tuned", "memory-sum", peer("copy", 0.88), peer("tuned", 1.5)),
    ]
    product, memory, *_ = find_thresholds(rows)
    assert product.found == pytest.approx(0.9)
    assert memory.found == 0.9
    assert find_thresholds(rows[:1])[0].found == 0.8


def test_the_report_names_what_is_wrong_and_shows_what_was_measured():
    kernels = (Kernel("a", "nest", 2, "", 40, 0, 1024), Kernel("b", "contract", 1, "", 168, 16, 230 * 1024, "wgmma"))
    library = Kernel("c", "contract", 1, "tile (i:1) library")
    rows = [
        Row("kernels", "softmax/rows", "right"),
        Row("kernels", "softmax/long", "wrong", "result 0[1]: 3, not 4", error=0.25, eager_error=1e-7),
        Row("kernels", "sort/top-k", "failed", 'ValueError: no\nFile "a.py", line 3, in f\n'),
        measured("matmul", "bf16-8192", peer("cublas", 0.9), Peer("inductor", failure="RuntimeError: no\nmore"), operations=5e11,
                 error=1e-3, eager_error=2e-3, compile_seconds=3.0, kernels=kernels),
        measured("memory", "sum", peer("copy", 0.5), bytes=2e9, kernels=(library,)),
    ]  # fmt: skip
    parts = list(describe(rows, {"gpu": "NVIDIA H100 80GB HBM3"}, "interrupted"))
    text = "\n".join(part for part in parts if isinstance(part, str))
    assert "softmax 1/2  sort 0/1" in text
    assert "WRONG kernels/softmax/long (error 0.25, eager's 1e-07): result 0[1]: 3, not 4" in text
    assert 'FAILED kernels/sort/top-k: ValueError: no [File "a.py", line 3, in f]' in text
    assert "matmul/bf16-8192: inductor: RuntimeError: no" in text
    product, memory = (part for part in parts if isinstance(part, Sheet))
    row = dict(zip(product.header, product.lines[0]))
    assert row["tcomp"] == "1 ms" and row["±"] == "10%"
    assert row["reaches"] == "500 TFLOP/s, 51% of peak"
    assert row["x cublas"] == "0.90" and row["x inductor"] == "-"
    assert row["kernels"] == "3: 168 registers, 16 B spilled, 230 KiB wgmma"
    assert row["error"] == "1.0e-03 (0.5x)"
    row = dict(zip(memory.header, memory.lines[0]))
    assert row["reaches"] == "2 TB/s" and row["kernels"] == "1, 1 by cuBLAS"


def test_only_what_is_wrong_or_failed_counts_as_wrong():
    assert not is_wrong([Row("a", "b", "right"), Row("a", "c", "skipped")])
    assert is_wrong([Row("a", "b", "wrong")]) and is_wrong([Row("a", "b", "failed")])


SHEET = Sheet(("row", "time"), (("a [b]", "1 ms"), ("longer", "2 ms")))


def test_tables_are_printed_with_rich_and_without(capsys, monkeypatch):
    assert format_sheet(SHEET) == ["row     time", "a [b]   1 ms", "longer  2 ms"]
    show(["line", SHEET])
    rich = capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "rich.table", None)
    show(["line", SHEET])
    plain = capsys.readouterr().out
    assert plain != rich
    for text in (rich, plain):
        assert all(cell in text for line in SHEET.lines for cell in line)


def test_json_is_whole_or_not_there(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"rows": [Row("a", "b", "right", error=float("inf"))]})
    assert json.loads(path.read_text())["rows"][0]["error"] == "inf"
    with pytest.raises(TypeError):
        write_json(path, {"rows": object()})
    assert json.loads(path.read_text())["rows"][0]["name"] == "b"
    assert os.listdir(tmp_path) == ["results.json"]
    assert make_plain((1, Peer("x"))) == [1, make_plain(Peer("x"))]


def test_the_command_explains_itself_and_lists_rows(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "Ctrl-C" in text and "--interpret" in text
    assert main(["--list", "--only", "softmax", "--only", "bf16-8192"]) == 0
    listed = capsys.readouterr().out.split()
    assert "kernels/softmax/rows" in listed and "matmul/bf16-8192" in listed and "memory/softmax-bf16" in listed
    assert all("softmax" in label or "bf16-8192" in label for label in listed)
    assert main(["--list", "--interpret", "--only", "bf16-8192"]) == 2
    assert "--list" in capsys.readouterr().err


def test_without_a_gpu_the_command_says_what_it_can_do():
    arguments = [sys.executable, "-m", "tests.gpu", "--only", "kernels/maps"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 2
    assert "--interpret" in result.stderr
