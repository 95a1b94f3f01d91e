"""The artefact's folder appears whole or not at all, whenever the process dies.

A build works in `.OUT.bertc-XXXXXXXX/new` beside OUT and the finished folder is exchanged with OUT in one step. The
folder around it carries a marker, so that the next build of the same OUT knows what a killed one left behind.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bertc.artefact.destination import REASONS, check_replaceable
from bertc.artefact.exchange import exchange_folders
from bertc.artefact.kinds import ARTEFACT, Kind
from bertc.artefact.layout import MANIFEST_FILE
from bertc.artefact.manifest import foreign_files
from bertc.artefact.space import full_disk
from bertc.cache.lock import build_lock
from bertc.core.digest import files_of_folder
from bertc.core.progress import Progress, Silent
from bertc.errors import BertcError, InputError, is_full

_MARKER = "made-by-bertc"
_NEW = "new"
_PREVIOUS = "previous"  # the old artefact between two renames: the next build puts it back
_DISCARDED = "discarded"


@contextmanager
def artefact_folder(
    out: Path, *, kind: Kind = ARTEFACT, force: bool = False, progress: Progress | None = None
) -> Iterator[Path]:
    """Give an empty working folder that becomes `out` when the block ends well; the block writes the manifest last.

    An older one of its kind at `out` is replaced; if the block raises, or the process is killed, it stays as it was.
    Raises `EnvironmentLackError` if the disk is full, and `InputError` if `out` cannot be written, is of another kind
    or replaced with `force` only, holds files that bertc did not write, or is being built.
    """
    place = _checked_place(out)
    with ExitStack() as held:
        with _refusals(out):
            held.enter_context(build_lock(place.parent / f".{place.name}.bertc-lock", out=out))
            _recover(place)
            _check_replaceable(place, out, kind, force=force)
        container: Path | None = None
        try:
            with _refusals(out):
                container = _new_container(place)
            with _refusals(out, within=container):
                yield container / _NEW
            with _refusals(out):
                _sync(container / _NEW)
                _check_replaceable(place, out, kind, force=force)
                _swap_in(container, place)
        finally:
            if container is None:  # ended while it was being made
                _recover(place)
            else:
                _remove(container, place, progress or Silent())


def _checked_place(out: Path) -> Path:
    """Return the real path of the folder to write, links followed."""
    try:
        with _refusals(out):
            out.stat()
    except FileNotFoundError:
        pass  # as it should be: a folder to make
    except ValueError:
        raise InputError(f"{str(out)!r} is no path for an output folder; choose another one.") from None
    place = Path(os.path.realpath(out))
    if place.exists() and not place.is_dir():
        raise InputError(f"{out} is a file; choose a folder that does not exist yet, or remove the file.")
    if place.parent == place or place.is_mount():
        raise InputError(f"{out} is a mount point, which cannot be replaced in whole; choose a folder inside it.")
    with _refusals(out):
        place.parent.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def _refusals(out: Path, *, within: Path | None = None) -> Iterator[None]:
    """Say in one sentence what the disk refuses. With `within`, errors about a path elsewhere are left alone."""
    try:
        yield
    except OSError as error:
        named = Path(error.filename) if isinstance(error.filename, str) else None
        if within is not None and named is not None and not named.is_relative_to(within):
            raise
        if is_full(error):
            raise full_disk(out) from error
        reason = REASONS.get(error.errno or 0)
        if reason is None or (within is not None and named is None):
            raise
        culprit = "" if named in (None, out, out.absolute()) else f": {named}"
        raise InputError(f"{out} cannot be written ({reason}{culprit}); choose another folder.") from error


def _check_replaceable(place: Path, out: Path, kind: Kind, *, force: bool) -> None:
    """Refuse another kind of folder, and one with a file that bertc did not write: replacing it would delete it."""
    check_replaceable(out, kind, force=force)
    if not place.exists() or not files_of_folder(place):
        return
    foreign = foreign_files(place)
    if foreign:
        rest = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(f"{out} has files that bertc did not write ({foreign[0]}{rest}); move them or choose another.")


def _new_container(place: Path) -> Path:
    container = Path(tempfile.mkdtemp(prefix=f".{place.name}.bertc-", dir=place.parent))
    try:
        (container / _MARKER).touch()
        (container / _NEW).mkdir()
        if place.exists():
            shutil.copymode(place, container / _NEW)
    except OSError:
        shutil.rmtree(container, ignore_errors=True)
        raise
    return container


def _swap_in(container: Path, place: Path) -> None:
    new = container / _NEW
    if not (new / MANIFEST_FILE).is_file():
        raise BertcError(f"internal error: the artefact for {place} was closed without its {MANIFEST_FILE}.")
    if not place.exists():
        new.rename(place)
    elif not exchange_folders(new, place):
        place.rename(container / _PREVIOUS)
        new.rename(place)
        # From here on the old one must not come back, also if OUT is deleted while it is half removed.
        (container / _PREVIOUS).rename(container / _DISCARDED)
    _sync_path(place.parent)


def _recover(place: Path) -> None:
    """Bring back an artefact that a killed build had moved aside, then remove what killed builds left."""
    pattern = re.compile(re.escape(f".{place.name}.bertc-") + r"[a-z0-9_]{8}")  # as `mkdtemp` names them
    for container in sorted(place.parent.iterdir()):
        if not pattern.fullmatch(container.name) or container.is_symlink() or not container.is_dir():
            continue
        if not (container / _MARKER).is_file():
            with suppress(OSError):  # killed before the marker: then it is empty; otherwise it is not ours
                container.rmdir()
            continue
        _remove(container, place, Silent())


def _remove(container: Path, place: Path, progress: Progress) -> None:
    """Remove a working folder, its marker last so that an interrupted removal can be continued."""
    try:
        if (container / _PREVIOUS).exists() and not place.exists():
            (container / _PREVIOUS).rename(place)
        for part in container.iterdir():  # the build's scratch folders too
            if part.name != _MARKER:
                shutil.rmtree(part)
        (container / _MARKER).unlink(missing_ok=True)
        container.rmdir()
    except OSError as error:
        progress.note(f"{container} could not be removed ({error.strerror}); the next build tries again.")


def _sync(folder: Path) -> None:
    """Write a folder's files and entries through to the disk, so that a power cut cannot empty them after the swap."""
    folders = {folder}
    for name in files_of_folder(folder):
        path = folder / name
        folders.update(parent for parent in path.parents if parent.is_relative_to(folder))
        _sync_path(path)
    for path in folders:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    if sys.platform == "win32":
        return  # it has no descriptors of folders and none of read-only files to sync
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """Give a folder on the artefact's disk for what is not shipped."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="scratch-") as scratch:
        yield Path(scratch)
