"""A profile as a table, as JSON and as a trace."""

import json

import pytest

from tcomp.codegen.c.roofline import Rate, Roofline
from tcomp.codegen.timing import Spread
from tcomp.ir.errors import TcompError
from tcomp.profiling.profile import Profile
from tcomp.profiling.rows import Bound, ProfileRow
from tcomp.profiling.table import format_number, print_plain, shorten

MACHINE = Roofline(2, (("f32", 200e9), ("f64", 100e9)), (Rate(1 << 14, 400e9, 300e9), Rate(1 << 27, 20e9, 15e9)))


def spread(seconds, width=0.01):
    return Spread(seconds * (1 - width), seconds, seconds * (1 + width))


def make_profile(**changes):
    rows = (
        ProfileRow(1, "matmul_1", True, "product", "layer a.py:3", spread(1e-3), 10**8, 10**6, Bound(5e-4, 5e-5)),
        ProfileRow(2, "aten.svd", False, "it has no lowering", "a.py:4", spread(2e-3), None, None, None),
        ProfileRow(3, "pack_2", True, "packed", "", spread(1e-3), 0, 10**7, Bound(0.0, 5e-4)),
    )
    given = {"call": spread(4.1e-3), "beside": spread(1e-4), "rows": rows, "roofline": MACHINE, **changes}
    return Profile("Net", "f32[2, 8]", "2026-01-02T03:04:05+00:00", "a processor", 2, 20, **given)


def find_line(text, name):
    return next(line for line in text.splitlines() if f" {name} " in line).split()


def test_the_table_shows_rates_shares_and_bounds():
    text = str(make_profile())
    assert text.startswith("Net(f32[2, 8]), 2 threads of a processor, 2026-01-02T03:04:05+00:00\n")
    assert "a call takes 4.1 ± 1% ms, its steps 4 ms, the rest of it 0.1 ms; medians of 20 rounds" in text
    assert find_line(text, "matmul_1") == ["1", "matmul_1", "product", "1", "±", "1%", "25.0%", "0.1", "1", "100", "1", "compute", "50%"]
    assert find_line(text, "aten.svd") == ["2", "aten.svd", "it", "has", "no", "lowering", "2", "±", "1%", "50.0%"]
    assert find_line(text, "pack_2") == ["3", "pack_2", "packed", "1", "±", "1%", "25.0%", "0", "10", "10", "memory", "50%"]
    assert find_line(text, "total") == ["total", "4", "100.0%", "0.1", "11", "25", "2.75", "50%"]
    assert "roofline: 200 GFLOP/s in f32, 100 GFLOP/s in f64; memory 20 GB/s read, 15 copied" in text


def test_rows_are_in_the_order_of_the_program_or_of_time():
    def order(text):
        return [word for line in text.splitlines() for word in line.split() if word in ("matmul_1", "aten.svd", "pack_2")]

    assert order(str(make_profile())) == ["matmul_1", "aten.svd", "pack_2"]
    assert order(print_plain(make_profile().make_table("time"))) == ["aten.svd", "matmul_1", "pack_2"]


def test_what_is_in_doubt_is_told():
    assert "disturbed" not in str(make_profile()) and "faster than possible" not in str(make_profile())
    assert "disturbed" in str(make_profile(call=spread(4e-3, 0.2)))
    fast = ProfileRow(1, "k", True, "y", "", spread(1e-3), 10, 10, Bound(2e-3, 0.0))
    assert "faster than possible" in str(make_profile(rows=(fast,)))


def test_without_a_roofline_the_times_stand_alone():
    rows = (ProfileRow(1, "k", True, "y", "", spread(1e-3), 10**6, 10**6, None),)
    profile = make_profile(rows=rows, roofline=None, without_roofline="no C compiler was found")
    assert "the machine was not measured: no C compiler was found" in str(profile)
    assert find_line(str(profile), "k") == ["1", "k", "y", "1", "±", "1%", "100.0%", "0.001", "1", "1", "1"]
    assert json.loads(profile.to_json())["total"]["roofline_share"] is None
    assert str(make_profile(rows=()))


def test_json_holds_everything():
    data = json.loads(make_profile().to_json())
    assert data["module"] == "Net" and data["threads"] == 2 and data["roofline"]["peaks"] == [["f32", 200e9], ["f64", 100e9]]
    assert [row["name"] for row in data["rows"]] == ["matmul_1", "aten.svd", "pack_2"]
    first = data["rows"][0]
    assert first["seconds"]["median"] == 1e-3 and first["bound"] == {"compute": 5e-4, "memory": 5e-5}
    assert (first["limit"], first["roofline_share"]) == ("compute", 0.5)
    assert data["rows"][1]["operations"] is None
    assert data["total"] == {"seconds": 4e-3, "operations": 10**8, "bytes": 11 * 10**6, "roofline_share": 0.5}


def test_a_trace_has_one_complete_event_a_step_one_after_another(tmp_path):
    make_profile().save_trace(tmp_path / "trace.json")
    data = json.loads((tmp_path / "trace.json").read_text())
    events = [event for event in data["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"]) for event in events] == [
        ("matmul_1", 0.0, 1000.0),
        ("aten.svd", 1000.0, 2000.0),
        ("pack_2", 3000.0, 1000.0),
    ]
    assert events[0]["args"]["operations"] == 10**8 and events[0]["cat"] == "kernel" and "bytes" not in events[1]["args"]
    assert all(isinstance(event["pid"], int) and isinstance(event["tid"], int) for event in data["traceEvents"])
    assert {event["name"] for event in data["traceEvents"] if event["ph"] == "M"} == {"process_name", "thread_name"}


def test_files_are_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(TcompError, match="cannot write"):
        make_profile().save_json(tmp_path / "missing" / "p.json")
    make_profile().save_json(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["module"] == "Net"
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_numbers_and_names_are_short():
    assert [format_number(n) for n in (0, 1234.5, 12.345, 0.01234, 0.00012345)] == ["0", "1234", "12.3", "0.0123", "1.2e-04"]
    assert shorten("a, b, c", 10) == "a, b, c"
    assert shorten("alpha, beta, gamma", 12) == "alpha, ..."
    assert shorten("a" * 50, 10) == "aaaaaa ..."
