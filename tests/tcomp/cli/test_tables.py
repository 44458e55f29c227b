"""Tables show every number and every failure, and JSON holds them for machines."""

import io
import json
import math

import pytest
from rich.console import Console

from tcomp import TcompError
from tcomp.cli.bench import Result, Row, Spread
from tcomp.cli.doctor import Check
from tcomp.cli.tables import make_bench_table, make_check_table, show, summarise, write_results

TCOMP = Row(
    "tcomp",
    seconds=Spread(0.0098, 0.01, 0.0102),
    ratio=Spread(1, 1, 1),
    compile_seconds=3.21,
    recompile_seconds=0.54,
    error=3e-7,
    error_ratio=0.9,
    right=True,
    fallback_share=0.021,
    extra_bytes=12_345_678,
)
EAGER = Row("eager", seconds=Spread(0.02, 0.02, 0.02), ratio=Spread(1.9, 2, 2.1), error=3e-7, error_ratio=1, right=True, extra_bytes=0)
BROKEN = Row("openvino", failure="ImportError: [no] openvino\nhelp: pip install it")


def render(table):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_a_result_is_a_line_for_each_peer_and_failures_stand_below():
    text = render(make_bench_table([Result("zoo:bert", "bfloat16", 20, (TCOMP, EAGER, BROKEN))]))
    lines = [line.split() for line in text.splitlines()]
    assert ["zoo:bert", "tcomp", "10", "±", "2%", "3.2", "0.5", "3.0e-07", "0.90", "2.1%", "12.3"] in lines
    assert ["bfloat16", "eager", "20", "±", "0%", "2.00", "±", "5%", "3.0e-07", "1.00", "0.0"] in lines
    assert ["openvino", "failed"] in lines
    assert "openvino failed on zoo:bert: ImportError: [no] openvino\nhelp: pip install it" in text


def test_a_wide_spread_is_called_disturbed():
    noisy = Row("eager", seconds=Spread(0.01, 0.012, 0.013), right=True)
    text = render(make_bench_table([Result("m", "float32", 1, (TCOMP, noisy))]))
    assert "disturbed, measure again on a quieter machine: eager on m\n" in text
    assert "disturbed" not in render(make_bench_table([Result("m", "float32", 1, (TCOMP, EAGER))]))


def test_nothing_is_cut_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    wild = Row("inductor-max", seconds=Spread(0.01, 1.234, 90), ratio=Spread(0.1, 12.3, 300), error=1e-7, right=True)
    show(make_bench_table([Result("zoo:mobilenetv2:small", "bfloat16", 20, (TCOMP, wild))]))
    text = capsys.readouterr().out
    assert "…" not in text
    assert "2.1%" in text


def test_a_lone_row_still_names_the_type():
    text = render(make_bench_table([Result("m", "bfloat16", 1, (TCOMP,))]))
    assert "bfloat16" in text


def test_a_summary_is_one_line():
    wrong = Row("tcomp", seconds=Spread(1, 1, 1), right=False)
    assert summarise(Result("m", "float32", 1, (TCOMP, EAGER, BROKEN))) == "m: 10 ms, 2.00x eager"
    assert summarise(Result("m", "float32", 1, (wrong,))) == "m: 1000 ms, alone, and the result is WRONG"
    assert summarise(Result("m", "float32", 1, (Row("tcomp", failure="a\nb"),))) == "m: tcomp failed: a"
    assert summarise(Result("m", "float32", 1, (EAGER,))) == "m: tcomp failed: not measured"


def test_json_holds_the_machine_and_all_rows(tmp_path):
    path = tmp_path / "results.json"
    infinite = Row("other", error=math.inf, right=False)
    write_results(path, [Result("m", "float32", 1, (TCOMP, BROKEN, infinite))])
    document = json.loads(path.read_text())
    assert {"tcomp", "torch", "python", "processor", "threads", "gpu"} == set(document["machine"])
    rows = document["results"][0]["rows"]
    assert rows[0]["seconds"] == {"low": 0.0098, "median": 0.01, "high": 0.0102}
    assert rows[1]["failure"] == BROKEN.failure
    assert rows[2]["error"] == "inf"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_json_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(TcompError, match="cannot write"):
        write_results(tmp_path / "missing" / "results.json", [])


def test_checks_show_their_fix():
    text = render(make_check_table([Check("cache", "broken", "no room", "make [some]"), Check("isa", "ok", "AVX2")]))
    assert "fix: make [some]" in text
    assert text.count("fix:") == 1
