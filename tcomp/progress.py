"""How far long work has come: told through `logging`, so that whoever wants to shows it; nothing is printed otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("tcomp.progress")

Show = Callable[[str, int, int], None]
"""Told what is being done, and how many steps of how many are done."""


def report_progress(text: str, done: int, total: int) -> None:
    """Tell that `done` steps of `total` are done."""
    LOGGER.info("%s: %d of %d", text, done, total)


class _Handler(logging.Handler):
    def __init__(self, show: Show) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and len(record.args) == 3:
            text, done, total = record.args
            assert isinstance(text, str) and isinstance(done, int) and isinstance(total, int)
            self._show(text, done, total)


@contextmanager
def watch_progress(show: Show) -> Iterator[None]:
    """Have `show` called whenever progress is told, by any thread, for a while."""
    handler, level = _Handler(show), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
