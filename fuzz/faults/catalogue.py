"""The catalogue of planted faults: realistic ones, after bugs of compilers that were reported, each an edit of one place of our source.

A fault is planted only where a worker is told to (`tcomp fuzz run --plant NAME`): its import system then changes the text of one module
before it is compiled. Nothing of it is in the compiler that users run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tcomp.ir.errors import TcompError


@dataclass(frozen=True, slots=True)
class Fault:
    """A text of a module that is exchanged for another one, and what kind of mistake that is."""

    name: str
    module: str
    old: str
    new: str
    kind: str

    def plant(self, source: str) -> str:
        """The source of the module with the fault in it. Raises TcompError if the text is not there exactly once."""
        count = source.count(self.old)
        if count != 1:
            raise TcompError(
                f"the planted fault {self.name} does not fit the source",
                where=f"{self.module} has its text {count} times",
                help="mend the catalogue in fuzz/faults",
            )
        return source.replace(self.old, self.new)


_ROWS = (
    Fault(
        "a view is read at its own places",
        "tcomp.passes.cascade.inline",
        "    mapping = {rank.name: i for rank, i in zip(view.free, load.index)}\n    body = ",
        "    mapping = {}\n    body = ",
        "layout rewriting",
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ROWS}
"""Every planted fault by its name."""


def find_fault(name: str) -> Fault:
    """The fault of a name. Raises TcompError if there is none."""
    if name not in FAULTS:
        raise TcompError(f"there is no planted fault {name!r}", where="fuzz/faults", help=f"there are {', '.join(sorted(FAULTS))}")
    return FAULTS[name]
