"""What became of rows, as data that is written to a file; nothing here needs torch."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["right", "wrong", "failed", "skipped"]
"""What tcomp did: the right thing, a wrong one, none at all (an error, a crash, a hang); or the row makes no sense here."""


NOT_REACHED = "not reached: the time of the section was up"
"""Why a row was skipped that would make sense."""


class Skip(Exception):  # noqa: N818 (says what to do with the row)
    """Raised by a row that makes no sense here, with the reason."""


@dataclass(frozen=True, slots=True)
class Times:
    """Quartiles of seconds, or of ratios."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of tcomp's and what it uses of a multiprocessor; None where that is not known, as of an interpreted one."""

    name: str
    kind: str
    calls: int
    loops: str = ""
    """Its schedule: tiles and order of loops."""
    registers: int | None = None
    spilled: int | None = None
    """Bytes."""
    shared: int | None = None
    """Bytes."""
    tensor_cores: str = ""

    @property
    def is_library(self) -> bool:
        """Whether PyTorch's library computes it, which the schedule says."""
        return "library" in self.loops.split()


@dataclass(frozen=True, slots=True)
class Peer:
    """What was measured of tcomp or another; `failure` says why there is nothing."""

    name: str
    failure: str = ""
    seconds: Times | None = None
    """Of one call; of single kernels on the device, of models from call to result."""
    ratio: Times | None = None
    """Time of this peer over time of tcomp, round by round: above 1, tcomp is faster."""
    replay_seconds: Times | None = None
    """Of one call recorded as a CUDA graph."""
    replay_ratio: Times | None = None
    compile_seconds: float | None = None
    """Up to the end of the first call, nothing cached; others may have been compiling at the same time."""
    note: str = ""
    kernels: tuple[Kernel, ...] = ()
    """Of tcomp, where other kernels than the row's were chosen."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one row."""

    section: str
    name: str
    status: Status
    detail: str = ""
    seconds: float = 0.0
    """The whole row took."""
    error: float | None = None
    eager_error: float | None = None
    compile_seconds: float | None = None
    kernels: tuple[Kernel, ...] = ()
    operations: float | None = None
    """Floating-point operations that the result needs."""
    bytes: float | None = None
    """Of inputs, each read once, and results, each written once."""
    peers: tuple[Peer, ...] = ()

    @property
    def is_reached(self) -> bool:
        """Whether there was time for it."""
        return self.detail != NOT_REACHED

    @property
    def label(self) -> str:
        """Section and name."""
        return f"{self.section}/{self.name}"

    def find_peer(self, name: str) -> Peer | None:
        """A peer by name, or None if it took no part."""
        return next((peer for peer in self.peers if peer.name == name), None)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document so that a reader never sees half of it, whenever this is cut off."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(make_plain(document), file, indent=1, allow_nan=False)
            file.write("\n")
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def make_plain(value: Any) -> Any:
    """Dataclasses as dictionaries, numbers that JSON lacks as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: make_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: make_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [make_plain(part) for part in value]
    return value
