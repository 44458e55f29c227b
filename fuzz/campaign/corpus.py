"""The corpus: seeds that reached what none had before, as text files; and the choice of the next one to change."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tcomp.fuzz.campaign.files import write_file
from tcomp.fuzz.choices import RandomChoices

SUFFIX = ".seed"
DIGITS = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A seed of the corpus and all that it reaches: branches by number, features by name."""

    text: str
    reached: frozenset[int | str]

    @property
    def name(self) -> str:
        """The digest of its text."""
        return digest_of(self.text)


def digest_of(text: str) -> str:
    """What a seed's file is called."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class Corpus:
    """Seeds in a folder. An entry is kept as long as it reaches something that no smaller one does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[Entry] = []
        self.known: Counter[int | str] = Counter()
        """How many entries reach each branch and feature."""

    def read_texts(self) -> list[str]:
        """The seeds of the folder, in the order of their names."""
        return [path.read_text() for path in sorted(self.folder.glob(f"*{SUFFIX}"))]

    def offer(self, text: str, reached: Iterable[int | str]) -> int:
        """Keep a seed if it reaches something new; returns how much that is."""
        entry = Entry(text, frozenset(reached))
        new = sum(1 for item in entry.reached if item not in self.known)
        if new:
            self.entries.append(entry)
            self.known.update(entry.reached)
            path = self.folder / f"{entry.name}{SUFFIX}"
            if not path.exists():
                write_file(path, text)
        return new

    def pick(self, choices: RandomChoices, word: str = "") -> Entry | None:
        """An entry whose text begins with a word, those that reach what few reach more often: the chance is that of its rarest branches."""
        entries = [entry for entry in self.entries if entry.text.startswith(word)]
        if not entries:
            return None
        weights = [sum(1.0 / self.known[item] for item in entry.reached) for entry in entries]
        at = choices.integer(0, 1 << 40) / (1 << 40) * sum(weights)
        for entry, weight in zip(entries, weights):
            at -= weight
            if at <= 0:
                return entry
        return entries[-1]

    def minimise(self) -> int:
        """Drop entries all of whose branches and features others reach, largest texts first; returns how many went."""
        dropped = 0
        for entry in sorted(self.entries, key=lambda e: -len(e.text)):
            if all(self.known[item] > 1 for item in entry.reached):
                self.known.subtract(entry.reached)
                self.entries.remove(entry)
                (self.folder / f"{entry.name}{SUFFIX}").unlink(missing_ok=True)
                dropped += 1
        return dropped
