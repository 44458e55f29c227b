"""Long sums are as exact as eager's: a quick sample; `python -m tests.sums_report` does the same with all operators and lengths."""

import pytest
import torch

from tests.sums_report import OPERATORS, Case, Row, half_units, main, measure, shape_of

NAMES = {operator.name: operator for operator in OPERATORS}
SAMPLE = [
    ("sum", "all", torch.float32, 1_000),
    ("sum", "all", torch.float32, 1_000_003),
    ("sum", "first", torch.float32, 65_536),
    ("mean", "two", torch.bfloat16, 65_536),
    ("var", "last", torch.float32, 4_099),
    ("group_norm", "last", torch.float32, 65_536),
    ("softmax", "first", torch.float32, 65_536),
    ("cumsum", "last", torch.float32, 4_099),
]


@pytest.mark.parametrize(("name", "layout", "dtype", "length"), SAMPLE, ids=lambda value: str(value).removeprefix("torch."))
def test_long_sums(name, layout, dtype, length):
    with torch.no_grad():
        rows = list(measure(Case(NAMES[name], dtype, layout, length)))
    assert all(row.is_good for row in rows), "\n".join(map(str, rows))


def test_twice_eagers_error_and_half_a_unit_are_allowed_and_no_more():
    case = Case(NAMES["sum"], torch.float32, "all", 1_000)
    assert Row(case, 0.0, 5.0, 2.0, 1.0).is_good
    worse = Row(case, 0.0, 5.0, 2.1, 1.0)
    assert not worse.is_good and str(worse).endswith("WORSE")


def test_half_a_unit_in_the_last_place():
    units = half_units(torch.tensor([1.0, 1.5, 2.0, -3.0], dtype=torch.float64), torch.float32)
    assert units.tolist() == [2.0**-24, 2.0**-24, 2.0**-23, 2.0**-23]


def test_shapes_are_as_long_as_said():
    for layout in NAMES["sum"].layouts:
        shape, dims = shape_of(layout, 65_536)
        length = 1
        for d in dims:
            length *= shape[d]
        assert length == 65_536


def test_the_command_fails_where_a_sum_is_worse(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sums_report", "sum", "--dtype", "float32", "--length", "1000", "--axis", "all"])
    monkeypatch.setattr("tests.sums_report.measure", lambda case: iter([Row(case, 0.0, 9.0, 9.0, 1.0)]))
    assert main() == 1
    assert "1 worse" in capsys.readouterr().out
