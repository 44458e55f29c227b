"""Work in processes of its own, which may crash or hang without taking the rest along."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch


def run_entries(
    entries: Sequence[Any], name_of: Callable[[Any], str], work: Callable[[Any], Any], jobs: int, seconds: float
) -> Iterator[tuple[str, Any]]:
    """Do `work` on each entry, `jobs` at a time, each in a process of its own; yields names and what came of them, as it comes.

    Of an entry that crashed, or took longer than `seconds`, a sentence that says so comes instead.
    """
    context = multiprocessing.get_context("fork")
    waiting = deque(entries)
    running: dict[Any, tuple[Any, str, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                entry = waiting.popleft()
                receive, send = context.Pipe(duplex=False)
                process = context.Process(target=_send, args=(work, entry, send))
                process.start()
                send.close()
                running[receive] = process, name_of(entry), time.monotonic()
            for receive in multiprocessing.connection.wait(list(running), timeout=1.0):
                process, name, _ = running.pop(receive)
                try:
                    yield name, receive.recv()
                except EOFError:
                    process.join()
                    yield name, f"the compiler crashed (exit status {process.exitcode})"
                process.join()
            for receive, (process, name, started) in list(running.items()):
                if time.monotonic() - started > seconds:
                    del running[receive]
                    os.killpg(process.pid, signal.SIGKILL)
                    process.join()
                    yield name, f"its samples took more than {seconds:.0f} s"
    finally:
        for process, _, _ in running.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()


def _send(work: Callable[[Any], Any], entry: Any, send: Any) -> None:
    # A group of its own, so that what it starts ends with it, and an interrupt reaches only the parent.
    os.setpgrp()
    # What tcomp fails on is to be seen, not left to PyTorch.
    os.environ["TCOMP_RAISE_FAULTS"] = "1"
    torch.set_num_threads(1)
    send.send(work(entry))
    send.close()


def run_apart(jobs: Sequence[Callable[[], Any]], seconds: float) -> list[Any]:
    """Run jobs in another process and return what each returns; one that crashes or hangs returns a sentence saying so."""
    answers: list[Any] = []
    while len(answers) < len(jobs):
        receive, send = multiprocessing.get_context("fork").Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_answer, args=(jobs[len(answers) :], send))
        process.start()
        send.close()
        try:
            while len(answers) < len(jobs):
                if not receive.poll(seconds):
                    process.kill()
                    answers.append(f"it ran for more than {seconds} s")
                    break
                answers.append(receive.recv())
        except EOFError:
            process.join()
            answers.append(f"it crashed (exit status {process.exitcode})")
        finally:
            receive.close()
            process.join()
    return answers


def _answer(jobs: Sequence[Callable[[], Any]], send: Any) -> None:
    torch.set_num_threads(1)
    for job in jobs:
        send.send(job())
    send.close()
