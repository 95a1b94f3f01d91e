"""An array as a value: equal numbers are equal values, and JSON can hold them. Part of the shared language."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertc.core.array_text import array_from_text, text_from_array
from bertc.core.keys import Key


@dataclass(frozen=True, slots=True)
class Packed:
    """A float32 array of a shape, its numbers packed as text. Raises `ValueError` for numbers of another count."""

    shape: tuple[int, ...]
    numbers: str

    def __post_init__(self) -> None:
        self.array()

    def array(self) -> NDArray[np.float32]:
        """Return the array."""
        most = 4 * math.prod(self.shape)
        return np.asarray(array_from_text(self.numbers, np.float32, most=most).reshape(self.shape))

    def cache_key(self) -> Key:
        """Return the shape and a digest of the numbers."""
        return {"shape": list(self.shape), "sha256": hashlib.sha256(self.numbers.encode()).hexdigest()}


def packed_from_array(array: NDArray[np.float32]) -> Packed:
    """Pack an array."""
    return Packed(tuple(array.shape), text_from_array(array))
