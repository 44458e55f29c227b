"""A planted fault: a text of one module that is exchanged for another one."""

from __future__ import annotations

from dataclasses import dataclass

from tcomp.ir.errors import TcompError

Row = tuple[str, str, str, str]
"""What a fault is called, the text that it takes the place of, the text that takes its place, and the kind of mistake."""


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


def list_faults(module: str, *rows: Row) -> tuple[Fault, ...]:
    """The faults of one module, whose name is given without the package's."""
    return tuple(Fault(name, f"tcomp.{module}", old, new, kind) for name, old, new, kind in rows)
