"""Buckets: what findings have in common that are one fault, and a folder with the first seed of each, reduced."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tcomp.fuzz.campaign.cluster import ClusterWorker
from tcomp.fuzz.campaign.corpus import digest_of
from tcomp.fuzz.campaign.files import write_file
from tcomp.fuzz.campaign.process import Worker
from tcomp.fuzz.campaign.protocol import Answer, Job
from tcomp.fuzz.finding import Finding
from tcomp.fuzz.layer import Layer
from tcomp.fuzz.layers.table import layer_of
from tcomp.fuzz.reducer import reduce_by
from tcomp.ir.errors import ParseError

REDUCING = 60.0
"""Seconds that reducing one seed may take."""


@dataclass
class Bucket:
    """One fault, as far as can be told: what it is called, how often it was seen, and when first, in seconds of the campaign."""

    name: str
    finding: Finding
    count: int = 1
    first: float = 0.0
    suppressed: str = ""
    """Why it is left alone, or empty."""

    @property
    def folder(self) -> str:
        """What its folder is called."""
        words = re.sub(r"[^a-zA-Z0-9]+", "-", self.name).strip("-").lower()[:60]
        return f"{words}-{digest_of(self.name)[:8]}"


class Buckets:
    """All buckets of a campaign, those of earlier runs included."""

    def __init__(self, folder: Path, suppressions: Mapping[str, str]) -> None:
        self.folder, self.suppressions = folder, suppressions
        self.known: dict[str, Bucket] = {}
        self.new: list[Bucket] = []
        for path in sorted(folder.glob("*/finding.json")):
            data = json.loads(path.read_text())
            finding = Finding(**data["finding"])
            self.known[finding.bucket] = Bucket(finding.bucket, finding, data["count"], data["first"])

    def count(self, finding: Finding, seconds: float) -> bool:
        """Count a finding; whether its bucket is new, and not to be left alone."""
        name = finding.bucket
        if name in self.known:
            self.known[name].count += 1
            return False
        reason = next((why for prefix, why in self.suppressions.items() if name.startswith(prefix)), "")
        bucket = self.known[name] = Bucket(name, finding, 1, seconds, reason)
        if not reason:
            self.new.append(bucket)
        return not reason

    def keep(self, answer: Answer, worker: Worker | ClusterWorker, *, is_native: bool, seconds: float = REDUCING) -> None:
        """Write down the seed of a new bucket, and a smaller one that fails alike, if some seconds are enough to find one."""
        assert answer.finding is not None
        bucket = self.known[answer.finding.bucket]
        folder = self.folder / bucket.folder
        write_file(folder / "seed", answer.text)
        self._write(bucket, answer.text, worker.layers)
        if answer.finding.oracle == "text":
            return
        reduced = reduce_in(worker, answer.text, bucket.name, is_native=is_native, seconds=seconds)
        self._write(bucket, reduced, worker.layers)

    def _write(self, bucket: Bucket, text: str, layers: tuple[Layer, ...]) -> None:
        folder = self.folder / bucket.folder
        write_file(folder / "reduced.seed", text)
        layer = layer_of(text, layers)
        # What does not parse has no script: its text is all that there is to see.
        with contextlib.suppress(ParseError):
            write_file(folder / "repro.py", layer.print_script(layer.parse(text), bucket.name, bucket.finding.what))
        data = {"finding": asdict(bucket.finding), "count": bucket.count, "first": bucket.first}
        write_file(folder / "finding.json", json.dumps(data, indent=1) + "\n")


def reduce_in(worker: Worker | ClusterWorker, text: str, bucket: str, *, is_native: bool, seconds: float = REDUCING) -> str:
    """The text of a smaller seed that a worker finds to fail in the same bucket."""
    layer = layer_of(text, worker.layers)

    def fails(seed: object) -> bool:
        answer = worker.ask(Job(0, str(seed), is_native=is_native))
        return answer.finding is not None and answer.finding.bucket == bucket

    return str(reduce_by(layer.parse(text), layer.list_smaller, fails, seconds))
