"""Progress reaches whoever watches, from any thread, and nobody else."""

import logging
import threading

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
