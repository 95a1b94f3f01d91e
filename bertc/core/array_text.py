"""Arrays as text in JSON: base64 of zlib, by column of bytes. Part of the shared language.

Equal bytes of neighbouring numbers stand together that way, which halves what zlib leaves of them. The same array
gives the same text.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def text_from_array(array: NDArray[Any]) -> str:
    """Pack the numbers of an array; its shape and dtype are the reader's to know."""
    little = array.astype(array.dtype.newbyteorder("<"))
    planes = little.reshape(-1, 1).view(np.uint8).T if little.size else np.zeros((0, 0), np.uint8)
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def array_from_text(text: str, dtype: type[np.generic] | str, *, most: int) -> NDArray[Any]:
    """Unpack numbers [n] of a dtype. Raises `ValueError` on anything else, or on more than `most` bytes."""
    wanted = np.dtype(dtype).newbyteorder("<")
    if wanted.kind not in "uif":
        raise ValueError(f"{wanted} is no number")
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.b64decode(text, validate=True), most + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) > most or not unpacker.eof:
        raise ValueError("cut off, or longer than it may be")
    if len(raw) % wanted.itemsize:
        raise ValueError("no whole number of numbers")
    planes = np.frombuffer(raw, np.uint8).reshape(wanted.itemsize, -1)
    numbers: NDArray[Any] = np.ascontiguousarray(planes.T).view(wanted).reshape(-1)
    return numbers
