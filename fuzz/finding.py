"""What an oracle finds, and what findings that are one fault have in common."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

LONGEST = 120
"""Characters of a message that tell one bucket from another."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a seed: by which oracle, whose fault it is, and what."""

    oracle: str
    guilty: str
    what: str
    where: str = ""

    @property
    def bucket(self) -> str:
        """What findings have in common that are one fault: the oracle, whose fault it is, and the message without its particulars."""
        return f"{self.oracle}: {self.guilty}: {normalise(self.what)}"


def describe_failure(error: Exception) -> str:
    """An exception, and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} in {frames[-1].name if frames else 'nothing'}"


def normalise(message: str) -> str:
    """The first line of a message, without numbers and the names of tensors and ranks.

    >>> normalise("t3.old: element 5 is 0.25, not -1e-05")
    'x: element N is N, not N'
    """
    line = message.splitlines()[0] if message else ""
    line = re.sub(r"(?<![\w.])(?:nan|inf|-?\d[\d.]*(?:e[+-]?\d+)?)\b", "N", line)
    line = re.sub(r"\b0x[0-9a-f]+|\b(?=[a-f]*\d)[0-9a-f]{6,}\b", "#", line)
    line = re.sub(r"\b(?:[a-zA-Z]\d*|[tuXT]\d+)(?:[.~_]\w+)*\b(?!\()", lambda m: m[0] if m[0] in ("N", "a", "I") else "x", line)
    return line[:LONGEST]
