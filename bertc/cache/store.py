"""The cache of finished stages: what a build computed once, the next build takes if its inputs did not change.

A cache can be damaged, full, read-only or absent without harm: an entry is used only when every byte of it has the
digest it was stored with, and whatever goes wrong is a note and a stage computed again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertc.cache.lock import try_lock
from bertc.core.digest import digest_of_file, files_of_folder
from bertc.core.progress import Progress, Silent
from bertc.core.versions import __version__
from bertc.errors import EnvironmentLackError

DEFAULT_BYTES = 4 << 30
_LAYOUT = "v1"
_RECORD = "digests.json"  # its modification time is the entry's last use, its lock says that a process uses it
_FILES = "files"
_STAGE = re.compile(r"[a-z0-9][a-z0-9_-]*")
_STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG})
_YOUNG = 3600.0  # seconds in which a temporary folder without a lock may be one that is just being made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """An entry on disk: its size in bytes and its last use in seconds since the epoch."""

    folder: Path
    bytes: int
    used: float


class _DamagedError(Exception):
    """An entry is not what was stored; the text names the file."""


def default_cache_directory() -> Path:
    """Return `$XDG_CACHE_HOME/bertc`, or `~/.cache/bertc`. Raises `EnvironmentLackError` without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():  # the XDG specification says to ignore a relative one
        return Path(base) / "bertc"
    try:
        return Path.home() / ".cache" / "bertc"
    except RuntimeError as error:
        raise EnvironmentLackError("there is no home directory for the cache; name one with --cache-dir.") from error


def key_from_parts(stage: str, parts: Mapping[str, Any]) -> str:
    """Return the key of a stage's result: the sha256 of all it depends on, as canonical JSON.

    The stage's name and the version of bertc belong to the key. `parts` may hold whatever JSON can; raises `TypeError`
    or `ValueError` for anything else (a NaN, a path).

    >>> key_from_parts("calibrate", {"rows": 2, "seed": 0}) == key_from_parts("calibrate", {"seed": 0, "rows": 2})
    True
    """
    content = {"stage": stage, "bertc": __version__, "parts": dict(parts)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class StageCache:
    """Folders by stage and key, shared by all builds of a user. It mutates: it holds locks until `close`.

    `directory` None means no cache at all. `max_bytes` bounds the size of all entries together; the least recently
    used go first, and never one that a live process uses.
    """

    def __init__(
        self, directory: Path | None, *, progress: Progress | None = None, max_bytes: int = DEFAULT_BYTES
    ) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._progress = progress or Silent()
        self._held: dict[Path, int] = {}
        self._said: set[str] = set()
        self._root = self._opened(directory)

    def __enter__(self) -> StageCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the entries that `get` gave; their folders may vanish from now on."""
        while self._held:
            _, descriptor = self._held.popitem()
            os.close(descriptor)

    def release(self, folder: Path) -> None:
        """Free one entry that `get` gave, as `close` frees all: a process can hold few, and a set has many shards."""
        descriptor = self._held.pop(folder.parent, None)
        if descriptor is not None:
            os.close(descriptor)

    def get(self, stage: str, key: str) -> Path | None:
        """Return the folder stored for a stage and key, or None. It stays until `close`; do not write into it."""
        if self._root is None:
            return None
        entry = self._root / _name(stage) / key
        try:
            return entry / _FILES if self._hold(entry) else None
        except _DamagedError as damage:
            self._say(f"the cache entry of stage {stage} is damaged ({damage}); it is dropped and computed again.")
            self._drop(entry)
        except OSError as error:
            self._say(f"the cache entry of stage {stage} cannot be read ({error.strerror}); it is computed again.")
        return None

    @contextmanager
    def put(self, stage: str, key: str) -> Iterator[Path | None]:
        """Give an empty folder that is kept under a stage and key if the block ends well, or None without a cache.

        The block only writes into that folder; take the result from `get` afterwards. If the disk is full or read-only
        the block ends early, a note says so, and nothing is raised.
        """
        work, descriptor = self._work_folder()
        if self._root is None or work is None:
            yield None
            return
        try:
            yield work / _FILES
            self._keep(work, self._root / _name(stage) / key)
        except OSError as error:
            if error.errno not in _STORAGE_ERRORS or not _is_about(error, self._root):
                raise
            self._say(f"stage {stage} is not kept in the cache {self.directory} ({error.strerror}).")
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if descriptor is not None:
                os.close(descriptor)

    def usage(self) -> tuple[int, int]:
        """Count the entries and their bytes."""
        entries = self._entries()
        return len(entries), sum(entry.bytes for entry in entries)

    def _opened(self, directory: Path | None) -> Path | None:
        if directory is None:
            return None
        root = directory / _LAYOUT
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.scandir(root):
                return root
        except OSError as error:
            self._say(
                f"the cache {directory} cannot be used ({error.strerror}): no stage is reused; choose another with "
                "--cache-dir."
            )
            return None

    def _hold(self, entry: Path) -> bool:
        """Lock an entry for reading if it exists and nobody is writing it; raise `_DamagedError` if it is not sound."""
        record = entry / _RECORD
        descriptor = try_lock(record, shared=True)
        if descriptor is None:
            if entry.is_dir() and not record.exists():
                raise _DamagedError(_RECORD)
            return False
        try:
            _check_sound(entry)
        except Exception:
            os.close(descriptor)
            raise
        if entry in self._held:
            os.close(descriptor)
        else:
            self._held[entry] = descriptor
        with suppress(OSError):  # a read-only cache has no order of use
            os.utime(record)
        return True

    def _work_folder(self) -> tuple[Path | None, int | None]:
        """Make a folder that is locked while we live; None if the cache takes nothing new."""
        if self._root is None:
            return None, None
        try:
            self._remove_leftovers(self._root)
            while True:
                work = Path(tempfile.mkdtemp(dir=_made(self._root / "tmp")))
                try:
                    descriptor = try_lock(work / _RECORD, create=True)
                except FileNotFoundError:  # another process took the folder for a leftover just now
                    continue
                if descriptor is not None:  # else it is about to
                    try:
                        (work / _FILES).mkdir()
                    except OSError:  # while it is locked nobody else would remove it
                        shutil.rmtree(work, ignore_errors=True)
                        os.close(descriptor)
                        raise
                    return work, descriptor
        except OSError as error:
            self._say(f"the cache {self.directory} takes nothing new ({error.strerror}): no stage is kept.")
            return None, None

    def _keep(self, work: Path, entry: Path) -> None:
        files = {name: _digest_and_size(work / _FILES / name) for name in files_of_folder(work / _FILES)}
        size = sum(size for _, size in files.values())
        if size > self.max_bytes:
            self._say(f"{entry.parent.name} is larger than the cache may be ({size / 1e6:.0f} MB); it is not kept.")
            return
        (work / _RECORD).write_text(json.dumps(files), encoding="utf-8")
        entry.parent.mkdir(exist_ok=True)
        try:
            work.rename(entry)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was first: the same content
                raise
        self._trim(keep=entry)

    def _trim(self, keep: Path) -> None:
        entries = self._entries()
        total = sum(entry.bytes for entry in entries)
        for entry in sorted(entries, key=lambda entry: entry.used):
            if total <= self.max_bytes:
                return
            if entry.folder != keep and self._drop(entry.folder):
                total -= entry.bytes

    def _entries(self) -> list[_Entry]:
        if self._root is None:
            return []
        entries = []
        for record in self._root.glob(f"*/*/{_RECORD}"):
            if record.parent.parent.name == "tmp":
                continue
            with suppress(OSError):  # another process may remove it at any moment
                size = sum(path.stat().st_size for path in record.parent.rglob("*") if path.is_file())
                entries.append(_Entry(folder=record.parent, bytes=size, used=record.stat().st_mtime))
        return entries

    def _drop(self, entry: Path) -> bool:
        """Remove an entry that nobody uses; return whether it is gone."""
        try:
            descriptor = try_lock(entry / _RECORD)
            if descriptor is None and (entry / _RECORD).exists():
                return False
            try:
                # Out of sight in one step, so that no reader ever sees a part of it.
                grave = Path(tempfile.mkdtemp(dir=_made(entry.parent.parent / "tmp"))) / "entry"
                entry.rename(grave)
                shutil.rmtree(grave.parent, ignore_errors=True)
            finally:
                if descriptor is not None:
                    os.close(descriptor)
        except OSError as error:
            self._say(f"the cache entry {entry} cannot be removed ({error.strerror}).")
            return False
        return True

    def _remove_leftovers(self, root: Path) -> None:
        """Remove the temporary folders of processes that died."""
        for work in (root / "tmp").glob("*"):
            with suppress(OSError):
                descriptor = try_lock(work / _RECORD)
                if descriptor is not None:
                    shutil.rmtree(work, ignore_errors=True)
                    os.close(descriptor)
                elif not (work / _RECORD).exists() and work.stat().st_mtime < time.time() - _YOUNG:
                    shutil.rmtree(work, ignore_errors=True)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._progress.note(text)


def _name(stage: str) -> str:
    if not _STAGE.fullmatch(stage) or stage == "tmp":
        raise ValueError(f"{stage!r} is no stage name")
    return stage


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _digest_and_size(path: Path) -> tuple[str, int]:
    return digest_of_file(path), path.stat().st_size


def _is_about(error: OSError, folder: Path) -> bool:
    """Say whether an error can be about a folder: it names a path inside, or (a failed write) none at all."""
    return error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(folder)


def _check_sound(entry: Path) -> None:
    """Raise `_DamagedError` naming the files of an entry that are not what was stored."""
    try:
        stored = json.loads((entry / _RECORD).read_bytes())
        names = set(files_of_folder(entry / _FILES))
        if names != set(stored):
            raise _DamagedError(", ".join(sorted(names ^ set(stored))))
        for name, (digest, size) in stored.items():
            if _digest_and_size(entry / _FILES / name) != (digest, size):
                raise _DamagedError(name)
    except (ValueError, TypeError, FileNotFoundError):
        raise _DamagedError(_RECORD) from None
