"""From a user's model that fails to a small cascade that fails alike.

The model is compiled while every stage is written down; each cascade found there becomes a seed for this machine, which the oracles
examine, as they do those of a campaign, and the reducer makes small.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

import tcomp
from tcomp.fuzz.campaign.buckets import REPRO, reduce_in
from tcomp.fuzz.campaign.files import write_file
from tcomp.fuzz.campaign.process import Worker
from tcomp.fuzz.campaign.protocol import Job
from tcomp.fuzz.finding import Finding
from tcomp.fuzz.oracles.cascade import describe_invalid
from tcomp.fuzz.seed import Seed
from tcomp.ir.errors import TcompError
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.target import Target
from tcomp.settings import override_environment

DUMP = "*/*_cascade.txt"
"""Where TCOMP_DEBUG has the cascade of a stage, as it was lowered."""


@dataclass(frozen=True, slots=True)
class Minified:
    """What is wrong with one stage of a model, and the smallest seed that shows it."""

    finding: Finding
    seed: str
    path: Path


def find_seeds(module: nn.Module, inputs: Sequence[Any], target: Target, options: Mapping[str, Any]) -> list[Seed]:
    """A seed for each stage of a model, whether or not it could be compiled."""
    with tempfile.TemporaryDirectory() as folder:
        with override_environment({"TCOMP_DEBUG": folder}), suppress(TcompError):
            tcomp.compile(module, tuple(inputs), **{**options, "fallback": "silent", "dynamic": False})
        cascades = [parse_cascade(path.read_text()) for path in sorted(Path(folder).glob(DUMP))]
    seeds = (Seed(cascade, target, 1, options.get("numerics") == "strict") for cascade in cascades if not cascade.symbols)
    # Where indices of 0 to 3 are outside something, zeros are not.
    return [replace(seed, numbers=0) if describe_invalid(seed) else seed for seed in seeds]


def minify(seeds: Sequence[Seed], folder: Path, seconds: float, limit: float, megabytes: int) -> list[Minified]:
    """What is wrong with seeds, and a script for each fault, in a folder; reducing one takes so many seconds at most."""
    found: dict[str, Minified] = {}
    worker = Worker(limit, megabytes)
    try:
        for number, seed in enumerate(seeds):
            finding = worker.ask(Job(0, str(seed), "", is_native=True)).finding
            if finding is None or finding.bucket in found:
                continue
            text = reduce_in(worker, str(seed), finding.bucket, is_native=True, seconds=seconds)
            path = folder / f"repro{number}.py"
            write_file(path, REPRO.format(bucket=finding.bucket, what=finding.what, seed=text))
            found[finding.bucket] = Minified(finding, text, path)
    finally:
        worker.close()
    return list(found.values())
