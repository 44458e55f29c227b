"""A folder of built files, found by the hash of what they were built from.

An entry's name is `KEY-CONTENT.SUFFIX`: the hash of its sources and the hash of its bytes. It appears by renaming, so readers in
other processes see all of it or nothing; one whose bytes do not have the hash in its name is deleted and built again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tcomp.ir.errors import CacheError

HELP = "set TCOMP_CACHE_DIR to a folder of your own that can be written, or compile with cache=False"


def hash_parts(*parts: str) -> str:
    """One hash of several texts; where one ends and the next begins matters."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class BuildCache:
    """A cache in a folder that belongs to the user alone. When it exceeds `limit` bytes the entries unused for longest go."""

    directory: Path
    limit: int = 4 * 2**30

    def find(self, key: str, suffix: str) -> Path | None:
        """The entry built from `key`, or None if there is none that is whole."""
        for path in sorted(self._shelf(key).glob(f"{key}-*{suffix}")):
            content = path.name.removesuffix(suffix).rpartition("-")[2]
            try:
                if _hash_file(path) == content:
                    os.utime(path)
                    return path
                path.unlink()
            except FileNotFoundError:
                continue  # another process evicted it
        return None

    def add(self, key: str, suffix: str, built: Path) -> Path:
        """Move a file that was built in `workspace` into the cache."""
        target = self._shelf(key) / f"{key}-{_hash_file(built)}{suffix}"
        with _explained(self.directory):
            target.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(built, target)
        return target

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A temporary folder next to the entries, so that files built in it can be renamed into place."""
        self.open()
        with _explained(self.directory):
            folder = tempfile.TemporaryDirectory(prefix="building-", dir=self.directory)
        with folder as name:
            yield Path(name)

    def evict(self) -> None:
        """Delete the entries used least recently until the rest fits in the limit."""
        entries: list[tuple[float, int, Path]] = []
        for path in self.directory.glob("??/*"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            entries.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _shelf(self, key: str) -> Path:
        return self.directory / key[:2]

    def open(self) -> None:
        """Make the folder if need be, and refuse one that others can write: its entries are loaded into this process."""
        with _explained(self.directory):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = self.directory.stat()
        if os.name != "posix":
            return
        if state.st_uid != os.getuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CacheError(
                f"other users can write to the cache folder {self.directory}",
                where=f"owner {state.st_uid}, mode {stat.filemode(state.st_mode)}",
                help=HELP,
            )


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(f"the cache folder {directory} cannot be used", where=str(error), help=HELP) from error


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
