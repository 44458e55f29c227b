"""How far long work has come: told through `logging`, so that whoever wants to shows it.

On a terminal, compiling shows a bar once it takes longer than `SECONDS`; `logging.getLogger("tcomp.progress").disabled = True` hides it.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

LOGGER = logging.getLogger("tcomp.progress")

SECONDS = 2.0

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


@contextmanager
def show_if_slow(title: str) -> Iterator[None]:
    """Show on the terminal, if there is one and nobody watches already, how far work has come once it takes longer than `SECONDS`."""
    if LOGGER.disabled or LOGGER.handlers or not sys.stderr.isatty():
        yield
        return
    shown, lock = ExitStack(), threading.Lock()
    is_done = False

    def begin() -> None:
        with lock:
            if not is_done:
                _begin_bar(title, shown)

    timer = threading.Timer(SECONDS, begin)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            is_done = True
            shown.close()


def _begin_bar(title: str, shown: ExitStack) -> None:
    from rich.console import Console  # noqa: PLC0415 (slow to import, and seldom needed)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 (as above)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    progress = shown.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = progress.add_task(title, total=None)

    def show(text: str, done: int, total: int) -> None:
        progress.update(task, description=f"{title}: {text}, {done} of {total}", completed=done, total=total)

    shown.enter_context(watch_progress(show))
