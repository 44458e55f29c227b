"""Sizes in saved programs: numbers as they are, others as the IR's text."""

from __future__ import annotations

from typing import Any

from tcomp.ir.expressions import Index, as_index, print_index
from tcomp.ir.parse.expressions import read_index
from tcomp.ir.parse.lexer import Cursor


def write_size(size: Index) -> Any:
    """A size as a number or text."""
    return size.constant if size.is_constant else print_index(size)


def read_size(data: Any) -> Index:
    """A size from a number or its text; raises ParseError for other text."""
    if isinstance(data, int):
        return as_index(data)
    cursor = Cursor(data)
    index = read_index(cursor)
    cursor.expect_end()
    return index
