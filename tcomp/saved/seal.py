"""An archive and a list of what it holds: a file of which any part is damaged is refused before anything in it is looked at.

The list is the member `sums.json`: the size and SHA-256 of every other. It tells damage, not forgery: a saved program is code.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from tcomp.ir.errors import RecordError

SUMS = "sums.json"
LONGEST = 1 << 24
"""Bytes of the list itself."""

DAMAGE = (
    OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError,
    MemoryError,
)  # fmt: skip
"""What the reading of a damaged archive raises."""


def sum_files(files: Mapping[str, bytes]) -> bytes:
    """The list of files."""
    return json.dumps({name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in files.items()}).encode()


def check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise RecordError for an archive that holds anything else than its list says; reads no more bytes than that."""
    try:
        wrong = _find_damage(archive)
    except DAMAGE as error:
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        raise RecordError(
            "the file does not hold a compiled program that can be read",
            where=f"{path}: {wrong}",
            help="write it again with compiled.save(path)",
        )


def _find_damage(archive: zipfile.ZipFile) -> str:
    infos = {info.filename: info for info in archive.infolist()}
    if len(infos) != len(archive.infolist()):
        return "it holds several files of one name"
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos.values()):
        return "it is compressed as nothing of ours is"
    if infos[SUMS].file_size > LONGEST:
        return f"{SUMS} is too long"
    sums = json.loads(archive.read(SUMS))
    if set(sums) | {SUMS} != set(infos):
        return "it does not hold the files that it should"
    for name, (size, digest) in sums.items():
        if infos[name].file_size != size:
            return f"{name} is not what was saved"
        found = hashlib.sha256()
        with archive.open(name) as stream:
            while chunk := stream.read(1 << 20):
                found.update(chunk)
        if found.hexdigest() != digest:
            return f"{name} is not what was saved"
    return ""
