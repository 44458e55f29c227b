"""A seed: all that one test of the compiler follows from, as text.

    seed    := "numbers" INT ["strict"] ["sizes" NAME INT {"," NAME INT}] ["passes" NAME {"," NAME}] target cascade [schedule]

    numbers 17
    sizes N 5
    passes drop_dead, inline_views
    target "4 lanes" {
      ...
    }
    cascade random(X: f32[N]) -> (Y) for N in 1.. {
      Y: f32[i:N] = X[N - i - 1]
    }

`numbers` is the seed of what the inputs hold. `sizes` are those of the symbols, for which the compiled program runs. `passes` are
rewrites of the cascade that run, in this order, before it is compiled for the target; every order is legal, since each maps a cascade
to one that means the same. A schedule, if there is one, is applied too: it is refused, or computes the same.
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
    sizes: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        lines = [f"numbers {self.numbers}"]
        lines += ["strict"] if self.strict else []
        lines += [f"sizes {', '.join(f'{name} {size}' for name, size in self.sizes)}"] if self.sizes else []
        lines += [f"passes {', '.join(self.passes)}"] if self.passes else []
        blocks = [self.target, self.cascade, *([] if self.schedule is None else [self.schedule])]
        return "\n".join([*lines, *map(str, blocks)]) + "\n"


def parse_seed(text: str) -> Seed:
    """Parse a seed: `parse_seed(str(s)) == s`. Raises ParseError."""
    head, *blocks = _BLOCK.split(text)
    found = {block.split(" ", 1)[0]: block for block in blocks}
    pairs = (line.partition(" ") for line in head.splitlines() if line.strip())
    words = {word: rest for word, _, rest in pairs}
    unknown = words.keys() - {"numbers", "strict", "sizes", "passes"}
    missing = {"target", "cascade"} - found.keys()
    if unknown or missing or len(found) < len(blocks) or not words.get("numbers", "0").strip().isdigit():
        wrong = f"{min(unknown)!r} is no word of a seed" if unknown else f"it has no {min(missing)}" if missing else "it is no seed"
        help = "a seed is: numbers INT, perhaps strict, sizes and passes, a target, a cascade, and perhaps a schedule"
        raise ParseError(wrong, line=1, column=1, source=text, help=help)
    passes = tuple(name.strip() for name in words.get("passes", "").split(",") if name.strip())
    sizes = tuple(_parse_size(text, part) for part in words.get("sizes", "").split(",") if part.strip())
    schedule = parse_schedule(found["schedule"]) if "schedule" in found else None
    target, cascade = parse_target(found["target"]), parse_cascade(found["cascade"])
    return Seed(cascade, target, int(words.get("numbers", "0")), "strict" in words, passes, schedule, sizes)


def _parse_size(text: str, part: str) -> tuple[str, int]:
    name, _, number = part.strip().partition(" ")
    if not number.strip().isdigit():
        raise ParseError(f"{part.strip()!r} is no size", line=1, column=1, source=text, help="sizes are a name and a number each: N 5, M 7")
    return name, int(number)
