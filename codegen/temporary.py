"""Temporary files that a killed process leaves behind and the next one deletes.

A folder or file here is locked (flock) while the process that made it lives, and the kernel drops the lock however that ends. So what is
not locked is a leftover: `sweep` deletes it, and never what another process uses. A process that was forked keeps its parent's locks.
Where the file system locks nothing, leftovers go when they are `OLD`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OLD = 24 * 3600.0
"""Seconds after which a leftover is deleted that cannot be told from what is in use."""

PREFIX = "tcomp-private-"
"""What the names of private folders begin with, in the folder for temporary files."""


@contextmanager
def hold_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder of this process alone, deleted at the end; raises OSError if it cannot be made. Leftovers like it are deleted first."""
    sweep(parent, prefix)
    path, handle = _make_locked(parent, prefix)
    process = os.getpid()
    try:
        yield path
    finally:
        # A child that was forked and ends as Python does must not take its parent's folder along.
        if os.getpid() == process:
            shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


@contextmanager
def hold_file(parent: Path, prefix: str, suffix: str) -> Iterator[tuple[Path, int]]:
    """A file to write and then to rename, and its descriptor; deleted at the end if it is still there. Raises OSError."""
    sweep(parent, prefix, suffix)
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=parent)
        if _lock(handle, name):
            break
        os.close(handle)
    try:
        yield Path(name), handle
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        os.close(handle)


def sweep(parent: Path, prefix: str, suffix: str = "") -> None:
    """Delete what processes that are gone have left in a folder under names like these, as far as it is ours."""
    try:
        names = sorted(name for name in os.listdir(parent) if name.startswith(prefix) and name.endswith(suffix))
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            _sweep_one(os.path.join(parent, name))


def private_folder() -> Path:
    """A folder of this process alone, deleted at its end: for what is not to be kept, or cannot be. Raises OSError.

    A process that was forked has another than its parent.
    """
    # Two threads that both find none would make two, and the one that is dropped would be deleted in use.
    with _FIRST_USE:
        return _private_of(os.getpid())


def find_private_folder() -> Path | None:
    """The folder of `private_folder` if this process has made it."""
    return _made().get(os.getpid())


_FIRST_USE = threading.Lock()


@functools.cache
def _made() -> dict[int, Path]:
    return {}


@functools.cache
def _private_of(process: int) -> Path:
    holder = contextlib.ExitStack()
    path = holder.enter_context(hold_folder(Path(tempfile.gettempdir()), PREFIX))
    atexit.register(holder.close)
    _made()[process] = path
    return path


def _make_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        name = tempfile.mkdtemp(prefix=prefix, dir=parent)
        try:
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # swept before it was locked
        if _lock(handle, name):
            return Path(name), handle
        os.close(handle)


def _lock(handle: int, name: str) -> bool:
    """Lock what was just made; False if another process took it for a leftover meanwhile."""
    # A file system without locks: then it is swept by age, and no one took it.
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        there = os.stat(name)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(handle))


def _sweep_one(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        state = os.fstat(handle)
        if state.st_uid != os.geteuid():
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            if time.time() - state.st_mtime < OLD:
                return
        if stat.S_ISDIR(state.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    finally:
        os.close(handle)
