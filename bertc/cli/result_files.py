"""Result files: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bertc.errors import InputError


@contextmanager
def finished_file(path: Path) -> Iterator[Path]:
    """Give a path to write to that becomes `path` when the block ends well; else `path` stays as it was.

    Raises `InputError` if the place cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file to write")
    if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced
        yield path
        return
    place = Path(os.path.realpath(path))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=place.suffix, dir=place.parent)
        os.close(descriptor)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place") from error
    work = Path(name)
    try:
        yield work
        work.chmod(_usual_mode(place))
        work.replace(place)
    except OSError as error:
        if error.filename not in (None, name):
            raise
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place") from error
    finally:
        with suppress(OSError):
            work.unlink()


def write_file(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises `InputError` if the place cannot be written."""
    with finished_file(path) as work:
        work.write_text(text, encoding="utf-8")


def _usual_mode(place: Path) -> int:
    """Return the permissions of the file that is replaced, or those of a new file (mkstemp's are private)."""
    if place.exists():
        return place.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
