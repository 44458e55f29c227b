"""Campaigns with real workers: what they keep, how they go on, and what they make of workers that die."""

import json
import os
import signal
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from tcomp.cli.main import main
from tcomp.fuzz.campaign.buckets import Bucket, Buckets
from tcomp.fuzz.campaign.campaign import Budget, Campaign, State, read_state, write_state
from tcomp.fuzz.campaign.corpus import Corpus
from tcomp.fuzz.campaign.process import Worker, WorkerError, sanitize
from tcomp.fuzz.campaign.protocol import Job
from tcomp.fuzz.campaign.report import write_reports
from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.finding import Finding, normalise
from tests.fuzz.test_seed import make_seeds

PLANTED = "a view is read at its own places"


@pytest.fixture(scope="module")
def worker():
    found = Worker(60.0, 4096)
    yield found
    found.close()


def test_a_worker_examines_what_it_is_given(worker):
    text = str(make_seeds(1)[0])
    answer = worker.ask(Job(0, text))
    assert answer.text == text and answer.finding is None and answer.probes
    assert worker.ask(Job(0, text)).probes == answer.probes


def test_a_worker_makes_the_same_seed_of_the_same_number(worker):
    first, second = (worker.ask(Job(7, "", "new")) for _ in range(2))
    assert first.text == second.text
    changed = worker.ask(Job(8, first.text, "cascade"))
    assert changed.text != first.text and not changed.invalid


def test_a_worker_that_dies_is_a_finding_and_is_started_again(worker):
    text = str(make_seeds(1)[0])
    worker.ask(Job(0, text))
    os.kill(worker._process.pid, signal.SIGSTOP)
    worker.seconds, before = 0.5, worker.seconds
    assert worker.ask(Job(0, text)).finding.oracle == "hang"
    worker.seconds = before
    assert worker.ask(Job(0, text)).finding is None
    os.kill(worker._process.pid, signal.SIGSEGV)
    finding = worker.ask(Job(0, text)).finding
    assert (finding.oracle, finding.guilty) == ("crash", "SIGSEGV")
    assert worker.ask(Job(0, text)).finding is None


def test_a_seed_that_does_not_parse_is_a_finding_and_is_kept_as_it_is(worker, tmp_path):
    text = str(make_seeds(1)[0]).replace(" = ", " = = ")
    answer = worker.ask(Job(0, text))
    assert answer.finding.oracle == "text" and "ParseError" in answer.finding.what
    buckets = Buckets(tmp_path, {})
    assert buckets.count(answer.finding, 0.0)
    buckets.keep(answer, worker, is_native=False)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["finding.json", "reduced.seed", "seed"]
    assert (folder / "seed").read_text() == text


@pytest.mark.parametrize("is_there", [True, False])
def test_sanitizers_are_loaded_before_python_is(is_there, monkeypatch, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\necho {'/lib/' if is_there else ''}library.so\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    if is_there:
        made = sanitize("address,undefined", 512)
        assert made["LD_PRELOAD"] == "/lib/library.so /lib/library.so" and made["TCOMP_SANITIZE"] == "address,undefined"
        assert "hard_rss_limit_mb=512" in made["ASAN_OPTIONS"]
    else:
        with pytest.raises(WorkerError, match="no sanitizers"):
            sanitize("address", 512)


def test_a_planted_fault_is_found_reduced_and_reported(tmp_path):
    run = ["fuzz", "run", "--time", "600s", "--tests", "30", "--native", "0", "--folder", str(tmp_path / "c")]
    result = CliRunner().invoke(main, [*run, "--plant", PLANTED])
    assert result.exit_code == 1, result.output
    findings = [json.loads(path.read_text())["finding"] for path in (tmp_path / "c" / "crashes").glob("*/finding.json")]
    # Operands are prepared by the same function.
    assert {"inline_views"} <= {finding["guilty"] for finding in findings} <= {"inline_views", "prepare_operands"}
    for path in (tmp_path / "c" / "crashes").glob("*/reduced.seed"):
        assert len(path.read_text().split("cascade ")[1].splitlines()) <= 6
    # Without the fault the same seeds are right, and the campaign goes on where it ended.
    again = CliRunner().invoke(main, ["fuzz", "replay", str(tmp_path / "c" / "crashes"), "--no-native"])
    assert again.exit_code == 0 and ", 0 wrong" in again.output
    more = CliRunner().invoke(main, [*run[:-3], "0", "--folder", str(tmp_path / "c")])
    assert more.exit_code == 0, more.output
    assert read_state(tmp_path / "c").tests >= 60
    cases = ElementTree.parse(tmp_path / "c" / "junit.xml").getroot()
    assert len(cases.findall("testcase")) == 1 + len(findings)
    assert len(json.loads((tmp_path / "c" / "report.sarif").read_text())["runs"][0]["results"]) == len(findings)


def test_a_campaign_is_the_same_each_time(tmp_path):
    texts = []
    for name in ("a", "b"):
        campaign = Campaign(tmp_path / name, Budget(600, 12), seed=3, native=0, layers=("cascades",))
        assert campaign.run() == []
        texts.append(sorted(campaign.corpus.read_texts()))
    assert texts[0] == texts[1] and texts[0]


def test_the_corpus_keeps_what_reaches_something_new(tmp_path):
    corpus = Corpus(tmp_path)
    assert [corpus.offer(text, reached) for text, reached in (("a", {1, 2}), ("b", {2}), ("c", {2, 3, "kernel"}))] == [2, 0, 2]
    assert corpus.read_texts() == [e.text for e in sorted(corpus.entries, key=lambda e: e.name)]
    picked = [corpus.pick(RandomChoices(number)).text for number in range(200)]
    assert 40 < picked.count("a") < picked.count("c")
    corpus.offer("everything", {1, 2, 3, 4, "kernel"})
    assert corpus.minimise() == 2
    assert corpus.read_texts() == ["everything"]


def test_suppressed_buckets_are_counted_and_left_alone(tmp_path):
    buckets = Buckets(tmp_path, {"C: ": "known"})
    finding = Finding("C", "C", "t3: element 5 is 0.5, not 0.25")
    assert not buckets.count(finding, 1.0) and not buckets.count(finding, 2.0)
    assert buckets.new == [] and buckets.known[finding.bucket].count == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("t3.old: element 5 is 0.78, not -1e-05", "X1: element 17 is nan, not 3.0"),
        ("KeyError: 'a1b2c3d4'", "KeyError: 'ffff0000'"),
    ],
)
def test_particulars_are_no_part_of_a_bucket(one, other):
    assert normalise(one) == normalise(other)


def test_other_messages_are_other_buckets():
    assert normalise("the arena has 5 bytes") != normalise("the tile has 5 bytes")


def test_reports_of_an_empty_campaign(tmp_path):
    paths = write_reports(tmp_path, State(), [])
    assert all(path.read_text() for path in paths)


def test_reports_survive_odd_messages(tmp_path):
    bucket = Bucket("C: <&>|\x00", Finding("C", "<&>", "a \x00 and | <b>"))
    state = State(10, 1, 5.0, 10, 100, history=[(1.0, 5, 50, 0), (5.0, 10, 60, 1)])
    write_reports(tmp_path, state, [bucket])
    assert "<b>" not in (tmp_path / "report.html").read_text()
    ElementTree.parse(tmp_path / "junit.xml")
    assert "90.0 % valid" in (tmp_path / "report.md").read_text()


def test_a_state_that_cannot_be_read_is_none(tmp_path):
    (tmp_path / "campaign.json").write_text("{")
    assert read_state(tmp_path) == State()
    write_state(tmp_path, State(3))
    assert read_state(tmp_path) == State(3)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["run", "--domains", "colour"], "colour cannot be changed"),
        (["run", "--time", "soon"], "'soon' is no duration"),
        (["run", "--plant", "rain"], "there is no planted fault 'rain'"),
        (["report", "--folder", "nowhere"], "nowhere holds no campaign"),
    ],
)
def test_bad_arguments_are_told(arguments, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["fuzz", *arguments])
    assert result.exit_code != 0 and what in result.output
    assert list(tmp_path.iterdir()) == []
