"""What a campaign and its workers say to one another: lines of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tcomp.fuzz.finding import Finding


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to examine: the seed of a text, changed in a domain by the choices of a number; or as it is, without one."""

    number: int
    text: str = ""
    domain: str = ""
    is_native: bool = False
    """Whether compiled C is run as well."""
    oracles: tuple[str, ...] = ()
    """Which oracles are asked; all if none is named."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a job."""

    text: str
    """The seed that was examined."""
    finding: Finding | None = None
    features: tuple[str, ...] = ()
    probes: tuple[int, ...] = ()
    """Branches that were taken."""
    seconds: float = 0.0
    invalid: str = ""
    """Why it is no seed, or empty."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The first thing that a worker says: how many branches there are."""

    branches: int = 0
    names: tuple[str, ...] = field(default=())


def write_line(message: Any) -> str:
    """A message as a line."""
    return json.dumps(asdict(message)) + "\n"


def read_job(line: str) -> Job:
    """The job of a line."""
    data = json.loads(line)
    return Job(**{**data, "oracles": tuple(data["oracles"])})


def read_answer(line: str) -> Answer:
    """The answer of a line."""
    data = json.loads(line)
    finding = Finding(**data.pop("finding")) if data.get("finding") else None
    data.pop("finding", None)
    return Answer(**{**data, "finding": finding, "features": tuple(data["features"]), "probes": tuple(data["probes"])})
