"""Dumps of every stage of a compilation, into the folder that TCOMP_DEBUG names."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from tcomp.ir.errors import TcompError
from tcomp.ir.tile import Kernel


class Dump:
    """Writes numbered text files into a new folder `NNN` of the debug folder; does nothing without one."""

    def __init__(self, folder: Path | None) -> None:
        self.is_wanted = folder is not None
        self._numbers = itertools.count()
        if folder is not None:
            self._folder = _make_folder(folder)

    def write(self, stage: str, result: object) -> None:
        """Write one stage's result: its text, or those of its parts."""
        if not self.is_wanted:
            return
        name = f"{stage}_{result.name}" if isinstance(result, Kernel) else stage
        parts = result if isinstance(result, tuple) else (result,)
        suffix = "" if name.endswith((".c", ".py")) else ".txt"
        path = self._folder / f"{next(self._numbers):03}_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:100]}{suffix}"
        try:
            path.write_text("\n".join(str(part) for part in parts) + "\n")
        except OSError as error:
            raise _unwritable(self._folder, error) from error


def _make_folder(folder: Path) -> Path:
    for number in itertools.count():
        made = folder / f"{number:03}"
        try:
            made.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritable(folder, error) from error
        return made
    raise AssertionError("there is always another number")


def _unwritable(folder: Path, error: OSError) -> TcompError:
    return TcompError(f"the folder of TCOMP_DEBUG cannot be written: {folder}", where=str(error), help="name a folder of yours")
