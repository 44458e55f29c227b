"""A campaign: seeds are made and changed, examined by workers, kept if they reach something new, and what fails is sorted into buckets.

The folder of a campaign holds all that it knows, so that the next one with the same folder goes on from there:

    corpus/NAME.seed             seeds that reached what none had before
    crashes/BUCKET/seed          what failed first, reduced.seed, repro.py and finding.json
    campaign.json                how long it ran, what it reached, how that grew

A bucket that a line of `suppressed` begins (a file of the folder, or one that is named) is counted and otherwise left alone.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tcomp.fuzz.campaign.buckets import REDUCING, Bucket, Buckets
from tcomp.fuzz.campaign.cluster import ClusterWorker
from tcomp.fuzz.campaign.corpus import Corpus
from tcomp.fuzz.campaign.files import write_file
from tcomp.fuzz.campaign.process import Worker, WorkerError
from tcomp.fuzz.campaign.protocol import Answer, Job
from tcomp.fuzz.campaign.strategies import JOINT, Strategy
from tcomp.fuzz.choices import RandomChoices, chance
from tcomp.fuzz.layer import Layer
from tcomp.fuzz.layers.table import LAYERS, TCOMP, find_layers, layer_of

PATIENCE = 10.0
"""How much a domain that found nothing is still worth, in tries: its share falls as it goes on finding nothing."""
EVERY = 5.0
"""Seconds between two points of the history."""
NATIVE = 20
"""Of so many seeds one is run as C, which takes a hundred times longer than all else."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When a campaign ends: after some seconds, some tests, or some buckets that are new, whichever comes first."""

    seconds: float = 60.0
    tests: int | None = None
    buckets: int | None = None


@dataclass
class State:
    """What a campaign has done so far, earlier runs with the same folder included."""

    tests: int = 0
    invalid: int = 0
    seconds: float = 0.0
    number: int = 0
    """The number of the next job, from which its choices follow."""
    branches: int = 0
    """How many there are."""
    oracles: Counter[str] = field(default_factory=Counter)
    """Findings by oracle."""
    history: list[tuple[float, int, int, int]] = field(default_factory=list)
    """Seconds, tests, branches reached and buckets, now and then."""


class Campaign:
    """Asks workers, each from a thread of this process; call `run`, once. `employ` makes a worker: here, or on a cluster."""

    def __init__(
        self,
        folder: Path,
        budget: Budget,
        *,
        seed: int = 0,
        jobs: int = 1,
        seconds: float = 30.0,
        megabytes: int = 4096,
        suppressions: Mapping[str, str] | None = None,
        strategy: Strategy = JOINT,
        layers: tuple[str, ...] = tuple(LAYERS),
        compiler: str = TCOMP,
        tree: Path | None = None,
        sanitizers: str = "",
        native: int = NATIVE,
        reducing: float = REDUCING,
        plant: str = "",
        employ: Callable[..., Worker | ClusterWorker] = Worker,
        watch: Callable[[Campaign], None] = lambda campaign: None,
    ) -> None:
        self.folder, self.budget, self.seed, self.jobs = folder, budget, seed, jobs
        self.corpus = Corpus(folder / "corpus")
        self.buckets = Buckets(folder / "crashes", suppressions or {})
        self.state = read_state(folder)
        self.names: tuple[str, ...] = ()
        self._strategy, self._native, self._watch = strategy, native, watch
        self._employ, self._limits = employ, (seconds, megabytes, plant, layers, compiler, tree, sanitizers)
        self._layers = find_layers(layers, compiler)
        self._reducing, self._barren = reducing, 0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._tries: Counter[str] = Counter()
        self._gains: Counter[str] = Counter()
        self._waiting = [Job(0, text) for text in reversed(self.corpus.read_texts()) if layer_of(text, find_layers()).name in layers]
        self._fault: BaseException | None = None
        self._started, self._before, self._tests = 0.0, self.state.seconds, 0

    @property
    def reached(self) -> int:
        """Branches that some seed has taken."""
        return sum(1 for item in self.corpus.known if isinstance(item, int))

    @property
    def tests_a_second(self) -> float:
        """Of this run."""
        return self._tests / max(1e-9, time.monotonic() - self._started)

    def run(self) -> list[Bucket]:
        """Run until the budget is used up or somebody interrupts; returns the buckets that are new. Raises WorkerError."""
        self._started = time.monotonic()
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(EVERY / len(threads))
                with self._lock:
                    self._note()
                self._watch(self)
        except KeyboardInterrupt:
            self._stop.set()
        for thread in threads:
            thread.join()
        self._note()
        if self._fault is not None:
            raise self._fault
        return self.buckets.new

    def _serve(self) -> None:
        worker = self._employ(*self._limits)
        try:
            while not self._is_over():
                with self._lock:
                    job, domain = self._next()
                answer = worker.ask(job)
                with self._lock:
                    self.names = max(self.names, worker.names, key=len)
                    is_new = self._take(answer, domain)
                if is_new:
                    self.buckets.keep(answer, worker, is_native=job.is_native, seconds=self._reducing)
        except WorkerError as error:
            self._fault = error
            self._stop.set()
        finally:
            worker.close()

    def _is_over(self) -> bool:
        spent = time.monotonic() - self._started
        counted = self.budget.tests is not None and self._tests >= self.budget.tests
        found = self.budget.buckets is not None and len(self.buckets.new) >= self.budget.buckets
        return self._stop.is_set() or spent > self.budget.seconds or counted or found

    def _next(self) -> tuple[Job, str]:
        """A stored seed that has not been examined by this code yet, or a new one, or one that is changed."""
        if self._waiting:
            return self._waiting.pop(), ""
        number = (self.seed << 32) + self.state.number
        self.state.number += 1
        choices = RandomChoices(number)
        layer = choices.pick([layer for layer in self._layers for _ in range(layer.weight)])
        is_native = bool(self._native) and chance(choices, 1, self._native)
        strategy = self._strategy
        has_parent = strategy.has_corpus and self.state.number > strategy.first
        parent = self.corpus.pick(choices, layer.word) if has_parent else None
        if parent is None:
            return Job(number, "", "new", layer.name, is_native, strategy.oracles), "new"
        domain = self._choose(choices, layer)
        return Job(number, parent.text, domain, layer.name, is_native, strategy.oracles), domain

    def _choose(self, choices: RandomChoices, layer: Layer) -> str:
        """A domain of changes: those that reached something new lately are taken more often, or the strategy has a rule."""
        domains = [name for name in layer.domains if name in self._strategy.domains or not self._strategy.domains]
        if self._strategy.barren:
            is_over = self._barren >= self._strategy.barren
            self._barren = 0 if is_over else self._barren
            return domains[is_over]
        weights = [(1.0 + self._gains[name]) / (PATIENCE + self._tries[name]) for name in domains]
        at = choices.integer(0, 1 << 30) / (1 << 30) * sum(weights)
        for name, weight in zip(domains, weights):
            at -= weight
            if at <= 0:
                return name
        return domains[-1]

    def _take(self, answer: Answer, domain: str) -> bool:
        """Count an answer and keep what is new; whether it is a finding that no bucket has."""
        self._tests += 1
        self.state.tests += 1
        if answer.invalid:
            self.state.invalid += 1
            return False
        gained = self.corpus.offer(answer.text, (*answer.probes, *answer.features)) if answer.finding is None else 0
        if domain:
            self._tries[domain] += 1
            self._gains[domain] += gained > 0
            self._barren = 0 if gained else self._barren + 1
        if answer.finding is None:
            return False
        self.state.oracles[answer.finding.oracle] += 1
        return self.buckets.count(answer.finding, self._before + time.monotonic() - self._started)

    def _note(self) -> None:
        """Write down how far the campaign has come."""
        state = self.state
        state.seconds = self._before + time.monotonic() - self._started
        state.branches = len(self.names)
        state.history.append((round(state.seconds, 1), state.tests, self.reached, len(self.buckets.known)))
        write_state(self.folder, state)


def read_state(folder: Path) -> State:
    """The state of the campaign of a folder; a new one if it has none, or one that cannot be read."""
    try:
        data = json.loads((folder / "campaign.json").read_text())
        data["oracles"] = Counter(data["oracles"])
        data["history"] = [tuple(point) for point in data["history"]]
        return State(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return State()


def write_state(folder: Path, state: State) -> None:
    """Write down the state of a campaign."""
    write_file(folder / "campaign.json", json.dumps(state.__dict__, indent=1) + "\n")
