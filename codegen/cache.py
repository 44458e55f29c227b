"""A folder of built files, found by the hash of what they were built from.

An entry's name is `KEY-CONTENT.SUFFIX`: the hash of its sources and the hash of its bytes. It appears by renaming, so readers in
other processes see all of it or nothing; one whose bytes do not have the hash in its name is deleted and built again.

Entries are loaded into this process, so whoever can write them, or rename a folder above them, can run code here. That is checked
whenever one is looked up: the folder, its shelves (the folders in it) and the entry belong to this user or to root and nobody else can
write them; so do the folders above, which others may write if they are sticky as /tmp is. Links are resolved first.

A folder that cannot be used, for this reason or because it cannot be written, is warned of once. Programs are then built in a private
folder that is deleted when the process ends.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tcomp.codegen.temporary import find_private_folder, hold_folder, private_folder
from tcomp.ir.errors import CacheError

HELP = "set TCOMP_CACHE_DIR to a folder of your own that can be written, or compile with cache=False"

WRITABLE = stat.S_IWGRP | stat.S_IWOTH

ROOM = 1 << 20
"""Bytes that a folder has to take before anything is built in it."""


def hash_parts(*parts: str) -> str:
    """One hash of several texts; where one ends and the next begins matters."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def check_trusted(directory: Path) -> None:
    """Raise CacheError if somebody else may write in a folder, or put another in its place; it need not exist, and has no links.

    The folders above may be sticky: whoever can write such a one cannot rename what is ours.
    """
    for path in (directory, *directory.parents):
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CacheError(f"the cache folder {directory} cannot be used", where=str(error), help=HELP) from error
        is_shared = state.st_mode & WRITABLE and not (path != directory and state.st_mode & stat.S_ISVTX)
        if is_shared or not _is_trusted_owner(state):
            raise CacheError(
                f"other users can write to the cache folder {directory}",
                where=f"{path}: owner {state.st_uid}, mode {stat.filemode(state.st_mode)}",
                help=f"chmod go-w {path} if it is yours alone; or {HELP}",
            )


@dataclass(frozen=True, slots=True)
class BuildCache:
    """A cache in a folder that belongs to the user alone. When it exceeds `limit` bytes the entries unused for longest go."""

    directory: Path
    limit: int = 4 * 2**30

    def find(self, key: str, suffix: str) -> Path | None:
        """The entry built from `key`, or None if there is none that is whole and that only this user can have written."""
        for folder in self._folders():
            shelf = folder / key[:2]
            if not _is_ours(shelf):
                continue
            for name in sorted(name for name in os.listdir(shelf) if name.startswith(f"{key}-") and name.endswith(suffix)):
                if _is_whole(shelf / name, name.removesuffix(suffix).rpartition("-")[2]):
                    return shelf / name
        return None

    def add(self, key: str, suffix: str, built: Path) -> Path:
        """Move a file that was built in `workspace` into the cache. Raises CacheError if there is no place for it at all."""
        name = f"{key}-{_hash_file(built)}{suffix}"
        home = self._resolve()
        if built.is_relative_to(home):
            try:
                return _move(built, home / key[:2] / name)
            except OSError as error:
                _warn_unusable(self.directory, str(error))
        with _explained(self.directory):
            return _move(built, self._spare() / key[:2] / name)

    def discard(self, key: str, suffix: str) -> None:
        """Delete the entries built from `key`."""
        for folder in self._folders():
            for path in folder.glob(f"{key[:2]}/{key}-*{suffix}"):
                with contextlib.suppress(OSError):
                    path.unlink()

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A temporary folder next to the entries, so that files built in it can be renamed into place; what kills left is deleted."""
        with contextlib.ExitStack() as stack:
            with _explained(self.directory):
                folder = stack.enter_context(hold_folder(self.open(), "building-"))
            yield folder

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
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            total -= size

    def open(self) -> Path:
        """Make the folder if need be, and return where things can be built: there, or in a private folder, which is warned of."""
        home = self._resolve()
        try:
            self._prepare(home)
        except CacheError as error:
            _warn_unusable(self.directory, error.where)
            with _explained(self.directory):
                return self._spare()
        return home

    def check(self) -> None:
        """Raise CacheError if the folder cannot be made and written, or others can write it."""
        self._prepare(self._resolve())

    def is_full(self) -> bool:
        """Whether the folder takes nothing more."""
        try:
            self.check()
        except CacheError:
            return True
        return False

    def _prepare(self, home: Path) -> None:
        self._check(home)
        with _explained(self.directory):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=home) as probe:
                probe.write(bytes(ROOM))
                probe.flush()
        check_trusted(home)

    def _check(self, home: Path) -> None:
        if not self.directory.is_absolute():
            raise CacheError(f"the cache folder {self.directory} cannot be found", where="it is not a whole path; is HOME set?", help=HELP)
        check_trusted(home)

    def _folders(self) -> Iterator[Path]:
        home = self._resolve()
        try:
            self._check(home)
            yield home
        except CacheError as error:
            _warn_unusable(self.directory, error.where)
        private = find_private_folder()
        if private is not None:
            yield private / _spare_name(self.directory)

    def _resolve(self) -> Path:
        # Everything below works on this path, so that no link can be put elsewhere after the check.
        return Path(os.path.realpath(self.directory))

    def _spare(self) -> Path:
        spare = private_folder() / _spare_name(self.directory)
        spare.mkdir(mode=0o700, exist_ok=True)
        return spare


def _spare_name(directory: Path) -> str:
    return hash_parts(str(directory))[:16]


@functools.cache
def _warn_unusable(directory: Path, where: str) -> None:
    """Warn once of each folder and reason."""
    warnings.warn(
        f"tcomp works without its cache: {directory} cannot be used, and programs are compiled again in each process.\n"
        f"  where: {where}\n  help: {HELP}; `tcomp doctor` checks it",
        stacklevel=2,
    )


def _is_trusted_owner(state: os.stat_result) -> bool:
    # Whoever owns / (root; within a user namespace it may show under another number) can do anything as it is.
    return state.st_uid in (os.geteuid(), 0, os.lstat("/").st_uid)


def _is_ours(path: Path) -> bool:
    try:
        state = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and not state.st_mode & WRITABLE and _is_trusted_owner(state)


def _is_whole(path: Path, content: str) -> bool:
    """Whether an entry may be loaded; one with other bytes than it was written with is deleted."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False  # another process evicted it, or it is a link, which nothing of ours is
    with open(handle, "rb") as stream:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or state.st_mode & WRITABLE or not _is_trusted_owner(state):
            return False
        try:
            is_same = _hash(stream.read()) == content
        except OSError:
            return False
    with contextlib.suppress(OSError):
        # On a read-only file system neither can be.
        if is_same:
            os.utime(path)
        else:
            path.unlink()
    return is_same


def _move(built: Path, target: Path) -> Path:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    # What umask left to the group would not be loaded again.
    built.chmod(built.stat().st_mode & ~WRITABLE)
    os.replace(built, target)
    return target


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(f"the cache folder {directory} cannot be used", where=str(error), help=HELP) from error


def _hash_file(path: Path) -> str:
    return _hash(path.read_bytes())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
