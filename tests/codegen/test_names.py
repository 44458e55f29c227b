"""C identifiers: near to the IR's names, and never the same for two things."""

import pytest

from tcomp.codegen.names import Names, spell


@pytest.mark.parametrize(
    ("name", "text"),
    [("m.0", "m_0"), ("X", "X"), ("_hidden", "t_hidden"), ("0.X", "t0_X"), ("tcomp_run", "ttcomp_run"), ("größe", "gr__e")],
)
def test_spelling(name, text):
    assert spell(name) == text


def test_names_are_unique_and_no_words_of_c():
    names = Names()
    assert [names.take(n) for n in ("X", "X", "X.1", "float", "begin", "vf32", "int64_t")] == [
        "X", "X_1", "X_1_1", "float_1", "begin_1", "vf32_1", "int64_t_1",
    ]  # fmt: skip


def test_inner_scopes_avoid_the_names_around_them_and_share_none():
    outer = Names()
    outer.take("X")
    assert [Names(outer).take("X") for _ in range(2)] == ["X_1", "X_1"]
    assert outer.take("Y") == "Y"


def test_numbered_names_skip_those_taken():
    names = Names()
    names.take("X_2")
    assert [names.number("X") for _ in range(3)] == ["X_1", "X_3", "X_4"]


def test_families_avoid_members_that_are_taken():
    names = Names()
    names.take("acc_0_16")
    base = names.take_family("acc", [(0, 0), (0, 16)])
    assert base == "acc_1"
    assert names.take("acc_1_0_16") == "acc_1_0_16_1"
