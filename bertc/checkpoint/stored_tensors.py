"""Tensors of a mapped file: their types, where they lie, and floats of any width as float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
"""Bytes of a number, by the types' names in safetensors."""

NUMPY_FLOATS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies: type, shape, and the bytes from `begin` to `end` of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


Stored = TypeVar("Stored", bound=StoredTensor)


class StoredTensors(Generic[Stored]):
    """What is known of a file's tensors without reading them, by name."""

    _tensors: Mapping[str, Stored]
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self._tensors[name].shape

    def size(self, name: str) -> int:
        """Return a tensor's size in bytes as stored."""
        return self._tensors[name].end - self._tensors[name].begin

    def dtype(self, name: str) -> str:
        """Return a tensor's stored type, in safetensors' words (F16, BF16, I64, ...)."""
        return self._tensors[name].dtype

    def is_float(self, name: str) -> bool:
        """Say whether a tensor is stored as floating-point numbers that `array` can read."""
        return self._tensors[name].dtype in NUMPY_FLOATS


def floats_from_stored(stored: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """Return an array of one of `NUMPY_FLOATS` as float32, in memory of its own. A number beyond it is infinite."""
    if dtype == "BF16":  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # an F64 beyond float32 becomes infinite, which the reader refuses
        return stored.astype(np.float32)
