"""A seed: all that one test of the compiler follows from, as text.

    seed    := "numbers" INT ["strict"] ["passes" NAME {"," NAME}] target cascade [schedule]

    numbers 17
    passes drop_dead, inline_views
    target "4 lanes" {
      ...
    }
    cascade random(X: f32[8]) -> (Y) {
      Y: f32[i:8] = X[7 - i]
    }

`numbers` is the seed of what the inputs hold. `passes` are rewrites of the cascade that run, in this order, before it is compiled for
the target; every order is legal, since each maps a cascade to one that means the same. A schedule, if there is one, is applied too: it
is refused, or computes the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tcomp.ir.cascade import Cascade
from tcomp.ir.errors import ParseError
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.parse.target import parse_target
from tcomp.ir.schedule import Schedule
from tcomp.ir.target import Target

_BLOCK = re.compile(r"^(?=(?:target|cascade|schedule) )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seed:
    """One test: a cascade, the machine it is compiled for, and how."""

    cascade: Cascade
    target: Target
    numbers: int = 0
    strict: bool = False
    passes: tuple[str, ...] = ()
    schedule: Schedule | None = None

    def __str__(self) -> str:
        lines = [f"numbers {self.numbers}"]
        lines += ["strict"] if self.strict else []
        lines += [f"passes {', '.join(self.passes)}"] if self.passes else []
        blocks = [self.target, self.cascade, *([] if self.schedule is None else [self.schedule])]
        return "\n".join([*lines, *map(str, blocks)]) + "\n"


def parse_seed(text: str) -> Seed:
    """Parse a seed: `parse_seed(str(s)) == s`. Raises ParseError."""
    head, *blocks = _BLOCK.split(text)
    found = {block.split(" ", 1)[0]: block for block in blocks}
    pairs = (line.partition(" ") for line in head.splitlines() if line.strip())
    words = {word: rest for word, _, rest in pairs}
    unknown = words.keys() - {"numbers", "strict", "passes"}
    missing = {"target", "cascade"} - found.keys()
    if unknown or missing or len(found) < len(blocks) or not words.get("numbers", "0").strip().isdigit():
        wrong = f"{min(unknown)!r} is no word of a seed" if unknown else f"it has no {min(missing)}" if missing else "it is no seed"
        help = "a seed is: numbers INT, perhaps strict, perhaps passes NAMES, a target, a cascade, and perhaps a schedule"
        raise ParseError(wrong, line=1, column=1, source=text, help=help)
    passes = tuple(name.strip() for name in words.get("passes", "").split(",") if name.strip())
    schedule = parse_schedule(found["schedule"]) if "schedule" in found else None
    target, cascade = parse_target(found["target"]), parse_cascade(found["cascade"])
    return Seed(cascade, target, int(words.get("numbers", "0")), "strict" in words, passes, schedule)
