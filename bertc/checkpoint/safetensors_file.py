"""One safetensors file: its header checked byte for byte, its tensors mapped and read when asked for.

The format is read here and not by its library because numpy has no bfloat16, and because a user gets better words for
a damaged file. https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.stored_tensors import (
    ITEM_BYTES,
    NUMPY_FLOATS,
    StoredTensor,
    StoredTensors,
    floats_from_stored,
)
from bertc.errors import InputError

MAX_HEADER = 100_000_000  # bytes, the format's own limit
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("<i1"),
    "BF16": np.dtype("<u2"),
}
"""Of the tensors that `mapped` reads; BF16 by its bits."""

AGAIN = "download or save it again"


class SafetensorsFile(StoredTensors[StoredTensor]):
    """A mapped safetensors file. Opening reads the header only. Raises `InputError` if the file is damaged."""

    def __init__(self, path: Path) -> None:
        """Map the file and check that the header describes exactly its bytes."""
        self.path = path
        self.paths: tuple[Path, ...] = (path,)
        try:
            with path.open("rb") as stream:
                if path.stat().st_size < 8:
                    raise InputError(f"{path} is truncated or empty; {AGAIN}")
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check that it exists, readable") from error
        self._tensors = _parse_header(path, self._map)

    def begin(self, name: str) -> int:
        """Return the byte of the file at which a tensor begins."""
        return self._tensors[name].begin

    def array(self, name: str) -> NDArray[np.float32]:
        """Read a floating-point tensor as float32, in memory of its own."""
        tensor = self._tensors[name]
        kind = NUMPY_FLOATS[tensor.dtype]
        stored: NDArray[Any] = np.frombuffer(self._map, kind, math.prod(tensor.shape), tensor.begin)
        return floats_from_stored(stored, tensor.dtype).reshape(tensor.shape)

    def mapped(self, name: str) -> NDArray[Any]:
        """Return a tensor of one of `NUMPY_TYPES` where it lies in the mapped file: read-only, nothing is copied."""
        tensor = self._tensors[name]
        flat: NDArray[Any] = np.frombuffer(self._map, NUMPY_TYPES[tensor.dtype], math.prod(tensor.shape), tensor.begin)
        return flat.reshape(tensor.shape)


def _object_of_pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object. Raises `ValueError` for a name that stands twice, of which readers take one or the other."""
    names = [name for name, _ in pairs]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f"it names {', '.join(sorted(twice))} twice")
    return dict(pairs)


def _parse_header(path: Path, content: mmap.mmap) -> dict[str, StoredTensor]:
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER or 8 + length > len(content):
        raise InputError(
            f"{path} is truncated or no safetensors file (its header would have {length} bytes, the file has "
            f"{len(content)}); {AGAIN}"
        )
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=_object_of_pairs)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged (its header is not JSON: {error}); {AGAIN}") from error
    if not isinstance(header, dict):
        raise InputError(f"{path} is damaged (its header is no JSON object); {AGAIN}")
    start = 8 + length
    entries = ((name, entry) for name, entry in header.items() if name != "__metadata__")
    tensors = {name: _parse_entry(path, name, entry, start) for name, entry in entries}
    _check_layout(path, tensors, start, len(content))
    return tensors


def _parse_entry(path: Path, name: str, entry: Any, start: int) -> StoredTensor:
    try:
        dtype, shape, (begin, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
        numbers = [*shape, begin, end]
        if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in numbers):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged (bad header entry of tensor {name}); {AGAIN}") from error
    if dtype not in ITEM_BYTES:
        raise InputError(f"{path}: tensor {name} has the unknown type {dtype!r}; save the checkpoint as F32 or F16")
    expected = math.prod(shape) * ITEM_BYTES[dtype]
    if end - begin != expected:
        raise InputError(
            f"{path} is damaged (tensor {name}, {dtype} {list(shape)}, needs {expected} bytes and has {end - begin}); "
            f"{AGAIN}"
        )
    return StoredTensor(dtype, shape, start + begin, start + end)


def _check_layout(path: Path, tensors: dict[str, StoredTensor], start: int, size: int) -> None:
    """Check that the tensors follow each other without overlap or hole and end where the file ends."""
    position = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.end > size:
            raise InputError(f"{path} is truncated ({size} bytes; tensor {name} ends at byte {tensor.end}); {AGAIN}")
        if tensor.begin != position:
            what = "overlaps" if tensor.begin < position else "leaves a hole before"
            raise InputError(f"{path} is damaged (byte {tensor.begin}: tensor {name} {what} another); {AGAIN}")
        position = tensor.end
    if position != size:
        raise InputError(f"{path} is damaged ({size - position} bytes at its end belong to no tensor); {AGAIN}")
