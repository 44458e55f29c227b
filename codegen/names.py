"""C identifiers: the IR's names with dots made underscores, made unique where that or C itself takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESERVED = """
auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return
short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof main
"""
KEYWORDS = frozenset(_RESERVED.split())
OURS = frozenset({"begin", "end", "scratch", "fault", "instance", "lane"})


def spell(name: str) -> str:
    """The nearest C identifier: m.0 becomes m_0."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    # Names with a leading underscore are the compiler's, tcomp_ is the headers' and v.. their vector types.
    return text if re.match(r"[A-Za-z]", text) and not text.startswith("tcomp_") else "t" + text


class Names:
    """Hands out identifiers that no one else in this scope or around it has."""

    def __init__(self, around: Names | None = None) -> None:
        self.taken: set[str] = set(around.taken) if around else set(KEYWORDS | OURS)
        self.counts: dict[str, int] = {}

    def take(self, name: str) -> str:
        """An identifier as near to the name as is free."""
        base = candidate = spell(name)
        number = 0
        while candidate in self.taken or re.fullmatch(r"v?[fiu]\d+|u?int\d+_t|INT\d+_C|INT64_MIN", candidate):
            number += 1
            candidate = f"{base}_{number}"
        self.taken.add(candidate)
        return candidate

    def take_family(self, name: str, members: Iterable[tuple[int, ...]]) -> str:
        """A base such that base_0_16 and so on are free for all members, which are then taken."""
        suffixes = ["".join(f"_{number}" for number in member) for member in members]
        while True:
            base = self.take(name)
            if not any(suffix and base + suffix in self.taken for suffix in suffixes):
                self.taken.update(base + suffix for suffix in suffixes)
                return base

    def number(self, name: str) -> str:
        """A numbered identifier: X_1, X_2, ..."""
        base = spell(name)
        while True:
            self.counts[base] = self.counts.get(base, 0) + 1
            candidate = f"{base}_{self.counts[base]}"
            if candidate not in self.taken:
                self.taken.add(candidate)
                return candidate
