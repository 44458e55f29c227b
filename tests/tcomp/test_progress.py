"""Progress reaches whoever watches, from any thread, and nobody else."""

import io
import logging
import sys
import threading
import time

from tcomp import progress
from tcomp.progress import LOGGER, report_progress, watch_progress


def test_progress_is_shown_while_one_watches(caplog):
    shown = []
    report_progress("before", 1, 2)
    with watch_progress(lambda *told: shown.append(told)):
        report_progress("compiled k0", 1, 2)
        thread = threading.Thread(target=report_progress, args=("compiled k1", 2, 2))
        thread.start()
        thread.join()
        LOGGER.info("something else")
    report_progress("after", 2, 2)
    assert shown == [("compiled k0", 1, 2), ("compiled k1", 2, 2)]
    assert "compiled k0: 1 of 2" in caplog.text


def test_the_logger_is_left_as_it_was():
    level, handlers = LOGGER.level, list(LOGGER.handlers)
    try:
        with watch_progress(lambda *told: None):
            assert LOGGER.isEnabledFor(logging.INFO)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert (LOGGER.level, LOGGER.handlers) == (level, handlers)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(monkeypatch, stream, seconds):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "SECONDS", seconds)
    with progress.show_if_slow("compiling Net"):
        for step in range(3):
            time.sleep(0.1)
            report_progress("compiled kernels", step + 1, 3)
    return stream.getvalue()


def test_slow_work_is_shown_on_a_terminal(monkeypatch):
    text = work(monkeypatch, Terminal(), 0.0)
    assert "compiling Net" in text and "compiled kernels, 2 of 3" in text
    assert LOGGER.handlers == []


def test_quick_work_and_files_see_nothing(monkeypatch):
    assert work(monkeypatch, Terminal(), 60.0) == ""
    assert work(monkeypatch, io.StringIO(), 0.0) == ""


def test_the_bar_can_be_hidden(monkeypatch):
    monkeypatch.setattr(LOGGER, "disabled", True)
    assert work(monkeypatch, Terminal(), 0.0) == ""


def test_who_watches_already_is_told_alone(monkeypatch):
    shown = []
    with watch_progress(lambda *told: shown.append(told)):
        assert work(monkeypatch, Terminal(), 0.0) == ""
    assert len(shown) == 3
