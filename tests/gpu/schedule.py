"""Which worker runs which row when, and for how long; nothing here needs torch.

Sections run one after another, each in a box of time: its share of what is left, so that time that one does not use goes to those after
it. Within a section workers take rows as they come free. When a row is parked, no other is started; when nothing runs any more, those
that are parked go on, one at a time: so what is measured has the machine to itself.
"""

from __future__ import annotations

import multiprocessing.connection
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from tests.gpu.results import NOT_REACHED, Row
from tests.gpu.worker import Table, Worker

GRACE = 10.0
"""Seconds that a row may run on when the time of its section is up."""
STARTUP = 120.0
"""Seconds that a worker may take to start."""
MOST_STARTS = 3
"""Starts in a row without a single row run before this is given up."""

Keep: TypeAlias = Callable[[Row], None]
Waiting: TypeAlias = deque[tuple[str, dict[str, str]]]
"""Rows with the peers to leave out."""


@dataclass(frozen=True, slots=True)
class Section:
    """A group of rows that share a box of time."""

    name: str
    title: str
    weight: float
    """Its share of the time left, beside the weights of those after it."""
    limit: float
    """Seconds that a part of a row may take."""
    is_alone: bool = False
    """Whether rows are prepared one at a time as well, since preparing them measures."""


class WorkersFailed(Exception):  # noqa: N818 (what it says)
    """No worker starts."""


@dataclass(slots=True)
class Pool:
    """The workers, replaced when they end."""

    open_table: Callable[[], Table]
    folder: Path
    size: int
    describe: Callable[[dict[str, Any]], None]
    """Told of the machine by each worker."""
    workers: list[Worker] = field(default_factory=list)
    starts: int = 0
    """Since a row was last finished."""
    count: int = 0

    def fill(self) -> None:
        """Start workers up to the size wanted. Raises WorkersFailed where they do not live."""
        while len(self.workers) < self.size:
            if self.starts >= MOST_STARTS * self.size:
                raise WorkersFailed(f"workers do not start{self.workers[-1].read_tail() if self.workers else ''}")
            worker = Worker(self.open_table, self.folder / f"worker-{self.count}.log")
            self.count += 1
            self.starts += 1
            worker.launch()
            self.workers.append(worker)

    def remove(self, worker: Worker) -> None:
        """End a worker."""
        self.workers.remove(worker)
        worker.stop()

    def close(self) -> None:
        """End all, those that run nothing in their own way."""
        for worker in self.workers:
            if worker.is_idle:
                worker.dismiss()
            else:
                worker.kill()
        while self.workers:
            self.remove(self.workers[-1])

    def wait(self, seconds: float) -> list[Worker]:
        """The workers that have something to say, or have ended."""
        known = {}
        for worker in self.workers:
            known[worker.connection] = known[worker.process.sentinel] = worker
        heard = multiprocessing.connection.wait(list(known), timeout=max(0.0, seconds))
        return list({id(known[key]): known[key] for key in heard}.values())


def run_sections(sections: Sequence[Section], labels: Mapping[str, Sequence[str]], pool: Pool, end: float, keep: Keep) -> None:
    """Run the rows of all sections until `end`, on the clock of time.monotonic; each row is given to `keep`, once.

    Raises WorkersFailed.
    """
    for number, section in enumerate(sections):
        now = time.monotonic()
        share = section.weight / sum(later.weight for later in sections[number:])
        run_section(section, labels[section.name], pool, now + max(0.0, end - now) * share, end, keep)


def run_section(section: Section, labels: Sequence[str], pool: Pool, until: float, end: float, keep: Keep) -> None:
    """Run rows: none is started for the first time after `until`, and nothing runs after `end`."""
    waiting: Waiting = deque((label, {}) for label in labels)
    lanes = 1 if section.is_alone else pool.size
    while True:
        pool.fill()
        now = time.monotonic()
        # Rows that are to run again without a peer have most of what they need, and may run after `until`.
        for entry in [entry for entry in waiting if now >= (end if entry[1] else until)]:
            waiting.remove(entry)
            keep(_make_row(entry[0], "skipped", NOT_REACHED))
        _assign(pool, waiting, lanes)
        if not waiting and not any(worker.label for worker in pool.workers):
            return
        ends = {id(worker): _find_end(worker, section, until, end) for worker in pool.workers}
        times = [*ends.values(), *([until] if waiting and now < until else [])]
        for worker in pool.wait(min(times) - now):
            _listen(worker, pool, waiting, keep)
        now = time.monotonic()
        for worker in [worker for worker in pool.workers if now >= ends.get(id(worker), now + 1)]:
            took = now - worker.since
            if worker.is_busy and took >= section.limit:
                _give_up(worker, pool, waiting, keep, f"took longer than {took:.0f} s")
            elif worker.label:
                _cut_off(worker, pool, waiting, keep, is_last=now >= end)
            elif not worker.is_ready:
                pool.remove(worker)


def _assign(pool: Pool, waiting: Waiting, lanes: int) -> None:
    busy = sum(worker.is_busy for worker in pool.workers)
    parked = [worker for worker in pool.workers if worker.is_parked]
    if parked and not busy:
        parked[0].resume()
    if parked:
        return
    for worker in pool.workers:
        if worker.is_idle and waiting and busy < lanes:
            worker.start(*waiting.popleft())
            busy += 1


def _find_end(worker: Worker, section: Section, until: float, end: float) -> float:
    """When a worker is to be ended."""
    if not worker.is_ready:
        return worker.since + STARTUP
    if not worker.is_busy:
        return end
    # What a row needs that is measured has been spent on preparing it already, and what runs again has it in caches.
    last = end if worker.is_resumed or worker.left_out else min(until + GRACE, end)
    return min(worker.since + section.limit, last)


def _listen(worker: Worker, pool: Pool, waiting: Waiting, keep: Keep) -> None:
    message = worker.receive() if worker.connection.poll() else None
    if message is None:
        _give_up(worker, pool, waiting, keep, worker.describe_end())
    elif message[0] == "ready":
        pool.describe(message[1])
    elif message[0] in ("done", "last"):
        pool.starts = 0
        keep(message[1])


def _give_up(worker: Worker, pool: Pool, waiting: Waiting, keep: Keep, reason: str) -> None:
    """End a worker. Its row runs again without the peer it was at, or has failed."""
    pool.remove(worker)
    if not worker.label:
        return
    pool.starts = 0
    if worker.trying:
        waiting.append((worker.label, {**worker.left_out, worker.trying: reason}))
        return
    row = worker.so_far or _make_row(worker.label, "failed", "")
    keep(replace(row, status="failed", detail=reason))


def _cut_off(worker: Worker, pool: Pool, waiting: Waiting, keep: Keep, *, is_last: bool) -> None:
    """End a worker since time is up. Its row runs again without the peer it was at, or is kept as far as it came."""
    pool.remove(worker)
    if worker.trying and not is_last:
        waiting.append((worker.label, {**worker.left_out, worker.trying: "not done when the time of the section was up"}))
    else:
        keep(worker.so_far or _make_row(worker.label, "skipped", NOT_REACHED))


def _make_row(label: str, status: Any, detail: str) -> Row:
    section, _, name = label.partition("/")
    return Row(section, name, status, detail)
