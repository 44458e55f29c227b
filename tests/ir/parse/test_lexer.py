"""Tokens: names with parts after dots, numbers beside ranges, comments, and positions."""

import pytest

from tcomp.ir.errors import ParseError
from tcomp.ir.parse.lexer import Cursor, tokenize


def texts(text):
    return [token.text for token in tokenize(text)][:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m.0 + 4*m.1.2", ["m.0", "+", "4", "*", "m.1.2"]),
        ("N in 1..64", ["N", "in", "1", "..", "64"]),
        ("N in 1..", ["N", "in", "1", ".."]),
        ("a..b", ["a", "..", "b"]),
        ("1.5e-05 2e3 1e+16", ["1.5e-05", "2e3", "1e+16"]),
        ("a//b%c->d", ["a", "//", "b", "%", "c", "->", "d"]),
        ("a<=b<c==d!=e>=f", ["a", "<=", "b", "<", "c", "==", "d", "!=", "e", ">=", "f"]),
        ("a # to the end .. of ] the line\n# all of it\n b", ["a", "b"]),
    ],
)
def test_texts_split_into_tokens(text, expected):
    assert texts(text) == expected


def test_a_strange_character_is_shown():
    with pytest.raises(ParseError, match="unexpected character '@'") as caught:
        tokenize("a\n  b @ c")
    assert (caught.value.line, caught.value.column) == (2, 5)


def test_a_cursor_stops_at_the_end():
    cursor = Cursor("a")
    cursor.advance()
    assert cursor.advance().kind == cursor.advance().kind == "end"
    assert (cursor.text_of(5), cursor.kind_of(5)) == ("", "end")
    assert not cursor.accept("")
    assert not cursor.is_next("", "")
    with pytest.raises(ParseError, match="expected '', found the end of the text"):
        cursor.expect("")


def test_a_whole_number_is_asked_for():
    with pytest.raises(ParseError, match=r"expected a size, found '1\.5'"):
        Cursor("1.5").expect_integer("a size")
