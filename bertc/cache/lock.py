"""Locks that die with their process, so that a stale lock file is never an obstacle.

The lock is the kernel's (`flock`), the file only carries it and the holder's process id. A lock file may be removed
by its holder, hence every acquisition checks that the locked file is still the one on disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bertc.core.signals import ends_held
from bertc.errors import InputError

_RETRIES = 20  # a lock file can vanish between open and lock once per build that ends just then


def try_lock(path: Path, *, shared: bool = False, create: bool = False) -> int | None:
    """Lock a file without waiting and return its descriptor, or None if another holder excludes us or it is gone.

    Closing the descriptor frees the lock. `shared` holders exclude only exclusive ones. Raises `OSError` if the file
    cannot be opened for another reason than absence, or not be created.
    """
    flags = (os.O_RDWR | os.O_CREAT) if create else os.O_RDONLY
    for _ in range(_RETRIES):
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:
            if create:
                raise  # its folder is gone, or takes no files
            return None
        if not _lock(descriptor, shared=shared):
            os.close(descriptor)
            return None
        if _is_on_disk(descriptor, path):
            return descriptor
        os.close(descriptor)  # its last holder removed the file after we opened it
        if not create:
            return None
    return None


@contextmanager
def build_lock(path: Path, *, out: Path) -> Iterator[None]:
    """Hold the lock of the builds into `out`; the file at `path` is removed at the end.

    Raises `InputError` at once, naming the holder's process id, if another build holds it.
    """
    descriptor = None
    try:
        with ends_held():  # a signal between the file and its descriptor would leave the file
            descriptor = try_lock(path, create=True)
        if descriptor is None:
            raise InputError(
                f"{out}: another build ({_holder(path)}) is writing this folder; "
                "wait until it ends or choose another one."
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        words = path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        words = []
    return f"process {words[0]}" if words and words[0].isdigit() else "a process that just started"


def _is_on_disk(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


if sys.platform == "win32":

    def _lock(descriptor: int, *, shared: bool) -> bool:
        import msvcrt  # Windows only

        try:  # one byte far behind the process id, which others must still be able to read; no shared locks here
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return shared
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:

    def _lock(descriptor: int, *, shared: bool) -> bool:
        import fcntl  # not on Windows

        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
