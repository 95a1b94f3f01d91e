"""Digests of files: what they say, not where or how old they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bertc.errors import InputError


def digest_of_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal, reading it in pieces. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_from_files(root: Path, files: Iterable[Path]) -> str:
    """Return the sha256 (hex) over names and contents of files in `root`, independent of their order and dates."""
    total = hashlib.sha256()
    for name, path in sorted({path.relative_to(root).as_posix(): path for path in files}.items()):
        try:
            content = digest_of_file(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check that it exists, readable") from error
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def files_of_folder(folder: Path) -> tuple[str, ...]:
    """List everything in a folder that is not a directory, as sorted relative paths with forward slashes.

    A symbolic link counts as a file, also where it points to a directory. Raises `OSError`.
    """
    return tuple(sorted(_walk(folder, "")))


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name
