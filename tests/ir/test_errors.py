"""Errors say what, where and what helps, in that order."""

import pickle

import pytest

import tcomp
from tcomp.ir import errors

KINDS = [
    errors.VerifyError,
    errors.Illegal,
    errors.Unsupported,
    errors.ToolchainError,
    errors.IndexOutOfRange,
    errors.BudgetError,
    errors.RecordError,
]


def test_an_error_prints_what_where_help_in_that_order():
    error = tcomp.TcompError("it broke", where="model.layer\nuser.py:3", help="mend it")
    assert str(error) == "it broke\n  where: model.layer\n    user.py:3\n  help: mend it"


def test_an_error_leaves_out_what_it_does_not_know():
    assert str(tcomp.TcompError("it broke")) == "it broke"
    assert str(tcomp.TcompError("it broke", help="mend it")) == "it broke\n  help: mend it"


@pytest.mark.parametrize("kind", [*KINDS, errors.ParseError])
def test_every_error_is_of_the_family_and_a_public_name(kind):
    assert issubclass(kind, tcomp.TcompError)
    assert getattr(tcomp, kind.__name__) is kind
    assert kind.__name__ in tcomp.__all__


def test_an_index_out_of_range_is_what_eager_raises():
    assert issubclass(errors.IndexOutOfRange, IndexError)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_the_way_to_another_process(kind):
    error = kind("it broke", where="here", help="mend it")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.args) == (str(error), error.args)


def test_a_parse_error_shows_the_line_and_a_caret():
    error = tcomp.ParseError("expected ']'", line=2, column=5, source="first\nA[m, n\nlast", help="close it")
    assert str(error) == "expected ']'\n  where: line 2, column 5\n    A[m, n\n        ^\n  help: close it"
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.line, copy.column, str(copy)) == (2, 5, str(error))


def test_the_caret_stands_under_its_character_behind_tabs():
    shown = str(tcomp.ParseError("no", line=1, column=3, source="\ta b")).splitlines()
    assert shown[-1] == "    \t ^"


@pytest.mark.parametrize("line", [0, 4])
def test_a_parse_error_outside_its_source_gives_the_position_alone(line):
    error = tcomp.ParseError("unexpected end", line=line, column=1, source="a\nb\nc")
    assert str(error) == f"unexpected end\n  where: line {line}, column 1"
