"""The digest of a checkpoint: what its files say, not where or how old they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from bertc.errors import InputError


def digest_from_files(root: Path, files: Iterable[Path]) -> str:
    """Return the sha256 (hex) over names and contents of files in `root`, independent of their order and dates."""
    total = hashlib.sha256()
    for name, path in sorted({path.relative_to(root).as_posix(): path for path in files}.items()):
        try:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check that it exists, readable") from error
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()
