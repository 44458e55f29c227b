"""Tokens of the text forms, and a cursor over them that the recursive descent parsers share.

    NAME   := letter or "_", then letters, digits and "_"; parts may follow after dots: m, m.0, m.0.1
    NUMBER := digits ["." digits] ["e" ["+" | "-"] digits]
    STRING := characters between double quotes, escaped as in JSON
    "#" starts a comment that runs to the end of the line; line ends are spaces
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeVar

from tcomp.ir.errors import ParseError

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
      | (?P<name>[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_0-9]+)*)
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<mark>->|//|\.\.|==|!=|<=|>=|[-+*/%()\[\]{}:,=<>!&|^])
    """,
    re.VERBOSE,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_0-9]+)*")

T = TypeVar("T")

RESERVED = frozenset({"where", "from", "else", "iterate"})
"""Words that no tensor or rank can be named after, since they would end the expression before them."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number or mark, and the offset in the text at which it starts."""

    kind: Literal["name", "number", "string", "mark", "end"]
    text: str
    offset: int


def tokenize(text: str) -> tuple[Token, ...]:
    """Split a text into tokens; the last is an "end". Raises ParseError at a character that starts none."""
    tokens: list[Token] = []
    offset = 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None:
            raise error_at(text, offset, f"unexpected character {text[offset]!r}")
        match match.lastgroup:
            case "name" | "number" | "string" | "mark" as kind:
                tokens.append(Token(kind, match.group(), offset))
        offset = match.end()
    return (*tokens, Token("end", "", len(text.rstrip())))


def is_name(text: str) -> bool:
    """Whether a text can be written, and read back, as a name."""
    return text not in RESERVED and _NAME.fullmatch(text) is not None


def error_at(text: str, offset: int, what: str, help: str = "") -> ParseError:
    """Make the ParseError for an offset in a text."""
    line_start = text.rfind("\n", 0, offset) + 1
    return ParseError(what, line=text.count("\n", 0, offset) + 1, column=offset - line_start + 1, source=text, help=help)


class Cursor:
    """A position in the tokens of a text; every parse function advances it over what it read."""

    def __init__(self, text: str) -> None:
        self.source = text
        self.tokens = tokenize(text)
        self.position = 0

    @property
    def token(self) -> Token:
        """The next token, not yet read."""
        return self.tokens[self.position]

    def is_next(self, *texts: str) -> bool:
        """Whether the next tokens read so."""
        ahead = self.tokens[self.position : self.position + len(texts)]
        return len(ahead) == len(texts) and all(token.text == text for token, text in zip(ahead, texts))

    def kind_of(self, distance: int) -> str:
        """The kind of the token at a distance from the next one."""
        return self.tokens[min(self.position + distance, len(self.tokens) - 1)].kind

    def text_of(self, distance: int) -> str:
        """The text of the token at a distance from the next one."""
        return self.tokens[min(self.position + distance, len(self.tokens) - 1)].text

    def advance(self) -> Token:
        """Read one token."""
        token = self.token
        if token.kind != "end":
            self.position += 1
        return token

    def accept(self, text: str) -> bool:
        """Read the next token if it reads so."""
        if self.token.text != text or self.token.kind == "end":
            return False
        self.advance()
        return True

    def expect(self, text: str, help: str = "") -> Token:
        """Read a token that must read so."""
        if self.token.text != text or self.token.kind == "end":
            self.fail(f"expected {text!r}, found {self.describe()}", help=help)
        return self.advance()

    def expect_name(self, what: str) -> str:
        """Read a name; `what` says in the error what it would have named."""
        if self.token.kind != "name":
            self.fail(f"expected {what}, found {self.describe()}")
        if self.token.text in RESERVED:
            self.fail(f"{self.token.text!r} is a word of the language, not {what}", help="choose another name")
        return self.advance().text

    def expect_integer(self, what: str) -> int:
        """Read a whole number."""
        if self.token.kind != "number" or not self.token.text.isdecimal():
            self.fail(f"expected {what}, found {self.describe()}", help="write a whole number")
        return int(self.advance().text)

    def expect_string(self, what: str) -> str:
        """Read a text between double quotes."""
        if self.token.kind != "string":
            self.fail(f"expected {what} in double quotes, found {self.describe()}")
        token = self.advance()
        try:
            return str(json.loads(token.text))
        except json.JSONDecodeError as error:
            self.fail(f"{token.text} is no string: {error.msg}", token)

    def read_list(self, opening: str, closing: str, read: Callable[[Cursor], T]) -> tuple[T, ...]:
        """Read items between two marks, separated by commas, possibly none."""
        self.expect(opening)
        items: list[T] = []
        while not self.is_next(closing):
            items.append(read(self))
            if not self.is_next(closing):
                self.expect(",", help=f"separate by commas and close with {closing!r}")
        self.expect(closing)
        return tuple(items)

    def expect_end(self) -> None:
        """Check that everything was read."""
        if self.token.kind != "end":
            self.fail(f"unexpected {self.describe()} after the end")

    def describe(self) -> str:
        """The next token, in words for an error."""
        return "the end of the text" if self.token.kind == "end" else repr(self.token.text)

    def line(self) -> int:
        """The line of the next token, from 1."""
        return self.source.count("\n", 0, self.token.offset) + 1

    def show(self, position: int) -> str:
        """The line of the token with a number, and a caret under it."""
        return error_at(self.source, self.tokens[position].offset, "").where

    def fail(self, what: str, token: Token | None = None, help: str = "") -> NoReturn:
        """Raise ParseError at a token, the next one unless given."""
        raise error_at(self.source, (token or self.token).offset, what, help)
