"""Files for people to read, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from tcomp.codegen.temporary import hold_file
from tcomp.ir.errors import TcompError

UNFINISHED = ".tcomp-part"
"""What names of files end with that are being written."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file; a reader never sees half of it, and one that was there stays until all is written.

    Raises TcompError where the file cannot be written.
    """
    try:
        with hold_file(path.parent, f".{path.name}.", UNFINISHED) as (unfinished, handle):
            with os.fdopen(os.dup(handle), "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(unfinished, 0o644)
            os.replace(unfinished, path)
    except OSError as error:
        raise TcompError(f"cannot write {path}", where=str(error), help="name a file in a folder of yours") from error
