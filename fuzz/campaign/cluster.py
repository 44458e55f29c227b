"""Workers on the machines of a Ray cluster: campaigns give them jobs as they do to those of this machine, and keep one corpus.

Each is a worker process (`process.Worker`) behind an actor. A seed that kills its process is a finding, told by the actor; where the
actor itself is lost, or its machine, another one takes its place and the job is asked again.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcomp.fuzz.campaign.process import START, Worker, WorkerError
from tcomp.fuzz.campaign.protocol import Answer, Job
from tcomp.fuzz.layers.table import LAYERS, TCOMP, find_layers

LOCAL = "local"
"""In place of an address: a cluster on this machine, for as long as the campaign runs."""
ATTEMPTS = 5
"""How often a job is given to another actor."""


class ClusterWorker:
    """A worker somewhere in the cluster that this process is connected to; takes what `process.Worker` takes."""

    def __init__(
        self,
        seconds: float,
        megabytes: int,
        plant: str = "",
        names: tuple[str, ...] = tuple(LAYERS),
        compiler: str = TCOMP,
        tree: Path | None = None,
        sanitizers: str = "",
    ) -> None:
        self.layers = find_layers(names, compiler)
        self.names: tuple[str, ...] = ()
        self._ray = find_ray()
        self._limits = (seconds, megabytes, plant, names, compiler, tree, sanitizers)
        self._patience = START + 4 * seconds
        self._actor: Any = None

    def ask(self, job: Job) -> Answer:
        """What comes of a job. Raises WorkerError if no machine of the cluster can do it."""
        failure: BaseException | None = None
        for _ in range(ATTEMPTS):
            if self._actor is None:
                self._actor = self._ray.remote(num_cpus=1)(_Actor).remote(*self._limits)
            try:
                answer, self.names = self._ray.get(self._actor.ask.remote(job), timeout=self._patience)
            except self._ray.exceptions.RayTaskError as error:
                raise WorkerError(f"a worker of the cluster could not be started: {error.cause}") from error
            except (self._ray.exceptions.RayError, TimeoutError) as error:
                failure = error
                self.close()
                continue
            return answer  # type: ignore[no-any-return]  # what an actor answers is not typed
        raise WorkerError(f"the cluster loses its workers, {ATTEMPTS} one after the other: {failure}")

    def close(self) -> None:
        """End the actor, and its process with it."""
        if self._actor is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(self._actor)
            self._actor = None


class _Actor:
    """What runs in the cluster."""

    def __init__(self, *limits: Any) -> None:
        self._worker = Worker(*limits)

    def ask(self, job: Job) -> tuple[Answer, tuple[str, ...]]:
        answer = self._worker.ask(job)
        return answer, self._worker.names


@contextlib.contextmanager
def connected(address: str, jobs: int) -> Iterator[int]:
    """Connect to a cluster, or make one on this machine for so many workers; yields how many processors it has.

    Raises WorkerError if there is none.
    """
    ray = find_ray()
    try:
        if address == LOCAL:
            ray.init(num_cpus=jobs, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        else:
            ray.init(address, log_to_driver=False, logging_level="ERROR")
    # ConnectionError, ValueError and others, by what is wrong with the address.
    except Exception as error:
        raise WorkerError(f"no cluster can be reached at {address!r}: {error}") from error
    try:
        yield int(ray.cluster_resources().get("CPU", 0))
    finally:
        ray.shutdown()


def find_ray() -> Any:
    """The package. Raises WorkerError."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise WorkerError("campaigns on several machines need Ray: pip install 'tcomp[distributed]'") from error
