"""The small files of a checkpoint: found inside its folder, read as JSON objects or bytes.

A path and a name come in, content goes out. Names that stand in somebody else's file may not lead out of the folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertc.errors import InputError

MAX_SMALL_FILE = 256 * 2**20  # bytes; the largest tokenizer.json in use is about 35 MB


def read_bytes(path: Path) -> bytes:
    """Read a small file whole. Raises `InputError` if it cannot be read or has more than 256 MiB."""
    try:
        if path.stat().st_size > MAX_SMALL_FILE:
            raise InputError(
                f"{path} has more than 256 MiB, which no configuration file has; copy the right file there"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check that it exists and is readable") from error


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises `InputError` if it is no JSON, or has strings that are no text."""
    try:
        value = json.loads(read_bytes(path).decode("utf-8-sig"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails for half a surrogate pair, now and not later
        return value
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); write or download it again") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object. Raises `InputError` if it holds something else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}, not an object; write or download it again")
    return value


def read_object_if_there(path: Path) -> dict[str, Any]:
    """Read a JSON object, or return an empty one where there is no such file."""
    return read_object(path) if path.is_file() else {}


def contained_path(folder: Path, name: object, source: Path) -> Path:
    """Return the path of `name`, which stands in the file `source`, inside `folder`.

    Raises `InputError` if the name is absolute, climbs with `..`, or is a symbolic link that leads out of the folder
    (links into the blobs of a Hugging Face cache, where downloaded folders keep their content, are followed).
    """
    if not isinstance(name, str) or "\\" in name or "\0" in name:
        raise InputError(f"{source} names the file {name!r}, which is no relative path; repair the entry")
    path = folder / name
    inside = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        inside.append(folder.resolve().parent.parent / "blobs")
    escapes = ".." in Path(name).parts or Path(name).is_absolute()
    if escapes or not any(path.resolve().is_relative_to(root) for root in inside):
        raise InputError(f"{source} names {name!r}, which lies outside the checkpoint's folder; copy the file into it")
    return path
