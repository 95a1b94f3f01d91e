"""Result files: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bertc.artefact.destination import REASONS, check_replaceable
from bertc.artefact.kinds import Kind
from bertc.artefact.space import full_disk
from bertc.core.signals import ends_held
from bertc.errors import BertcError, InputError, is_full


@contextmanager
def finished_file(path: Path, kind: Kind, *, force: bool = False) -> Iterator[Path]:
    """Give a path to write to that becomes `path` when the block ends well; else `path` stays as it was.

    Raises `EnvironmentLackError` if the disk is full, and `InputError` if the place cannot be written and, before and
    after the block, if something lies there that a file of this kind does not replace.
    """
    check_replaceable(path, kind, force=force)
    if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced
        yield path
        return
    place = Path(os.path.realpath(path))
    work: Path | None = None
    try:
        with ends_held():  # a signal between the file and its name would leave the file
            work = _new_file(path, place)
        yield work
        check_replaceable(path, kind, force=force)
        work.chmod(_usual_mode(place))
        _sync(work)
        work.replace(place)
    except OSError as error:
        if error.filename not in (None, str(work)):
            raise
        raise _refusal(path, error) from error
    finally:
        if work is not None:
            with suppress(OSError):
                work.unlink()


def write_file(path: Path, text: str, kind: Kind, *, force: bool = False) -> None:
    """Write a text file whole or not at all. Raises `InputError` as `finished_file` does."""
    with finished_file(path, kind, force=force) as work:
        work.write_text(text, encoding="utf-8")


def _new_file(path: Path, place: Path) -> Path:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=place.suffix, dir=place.parent)
        os.close(descriptor)
    except OSError as error:
        raise _refusal(path, error) from error
    return Path(name)


def _refusal(path: Path, error: OSError) -> BertcError:
    if is_full(error):
        return full_disk(path)
    reason = REASONS.get(error.errno or 0, error.strerror)
    return InputError(f"{path} cannot be written ({reason}); choose another place.")


def _sync(path: Path) -> None:
    """Write a file through to the disk, so that a power cut cannot empty it after it has its name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _usual_mode(place: Path) -> int:
    """Return the permissions of the file that is replaced, or those of a new file (mkstemp's are private)."""
    if place.exists():
        return place.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
