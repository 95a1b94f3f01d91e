"""Tensors of the Open Inference Protocol as JSON and as bytes (its binary tensor data extension).

A tensor's bytes are its elements in row-major order, little-endian; an element of BYTES is its length, uint32, and so
many bytes. https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertc.serve.endpoints import Body
from bertc.serve.refused import Reason, RefusalError

Size = Annotated[int, Field(ge=0, lt=2**31)]


class InputParameters(Body):
    """How many bytes behind the JSON are the tensor's; without, it is in the JSON."""

    binary_data_size: Size | None = None


class GivenTensor(Body):
    """A tensor of a request."""

    name: str = Field(max_length=500)
    shape: list[Size] = Field(min_length=1, max_length=8)
    datatype: str
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None


def checked_shape(tensor: GivenTensor, datatype: str, ranks: Sequence[int]) -> int:
    """Return how many elements a tensor has. Raises `RefusalError` for another datatype or number of axes."""
    if tensor.datatype != datatype:
        raise RefusalError(Reason.INVALID, f"{tensor.name} has the datatype {datatype}, not {tensor.datatype!r:.40}")
    if len(tensor.shape) not in ranks:
        raise RefusalError(
            Reason.INVALID, f"{tensor.name} has {' or '.join(map(str, ranks))} axes, not {len(tensor.shape)}"
        )
    return math.prod(tensor.shape)


def bytes_of_inputs(tensors: Sequence[GivenTensor], behind: bytes) -> list[bytes | None]:
    """Cut what stands behind the JSON into the tensors' bytes; None for a tensor in the JSON.

    Raises `RefusalError` unless each has its data in one place, and all bytes are some tensor's.
    """
    found: list[bytes | None] = []
    start = 0
    for tensor in tensors:
        size = tensor.parameters.binary_data_size
        if (size is None) == (tensor.data is None):
            raise RefusalError(Reason.INVALID, f"{tensor.name} has either data or the parameter binary_data_size")
        found.append(None if size is None else behind[start : start + size])
        start += size or 0
    if start != len(behind):
        raise RefusalError(
            Reason.INVALID, f"the tensors are to have {start} bytes behind the JSON, and there are {len(behind)}"
        )
    return found


def texts_from_tensor(tensor: GivenTensor, behind: bytes | None) -> list[str]:
    """Return the texts of a tensor of BYTES, [texts] or [texts, 1]. Raises `RefusalError` for what is none."""
    count = checked_shape(tensor, "BYTES", (1, 2))
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        raise RefusalError(Reason.INVALID, f"{tensor.name} has the shape [texts] or [texts, 1]")
    elements = flat_data(tensor, count) if behind is None else _elements(tensor, behind, count)
    for number, each in enumerate(elements):
        if not isinstance(each, str):
            raise RefusalError(Reason.INVALID, f"{tensor.name}: element {number} is no text")
    return elements


def _elements(tensor: GivenTensor, behind: bytes, count: int) -> list[str]:
    found: list[str] = []
    start = 0
    while start < len(behind):
        if start + 4 > len(behind):
            raise RefusalError(Reason.INVALID, f"{tensor.name}: the bytes end inside of an element's length")
        (length,) = struct.unpack_from("<I", behind, start)
        stop = start + 4 + length
        if stop > len(behind):
            raise RefusalError(Reason.INVALID, f"{tensor.name}: element {len(found)} is longer than its bytes")
        try:
            found.append(behind[start + 4 : stop].decode("utf-8"))
        except UnicodeDecodeError:
            raise RefusalError(Reason.INVALID, f"{tensor.name}: element {len(found)} is no UTF-8") from None
        start = stop
    _check_count(tensor, len(found), count)
    return found


def ids_from_tensor(tensor: GivenTensor, behind: bytes | None) -> NDArray[np.int64]:
    """Return a tensor of INT64, [texts, tokens]. Raises `RefusalError` for what is none."""
    count = checked_shape(tensor, "INT64", (2,))
    if behind is not None:
        if len(behind) != 8 * count:
            raise RefusalError(
                Reason.INVALID, f"{tensor.name} has {len(behind)} bytes, and its shape needs {8 * count}"
            )
        return np.frombuffer(behind, "<i8").reshape(tensor.shape).astype(np.int64)
    elements = flat_data(tensor, count)
    if any(type(each) is not int for each in elements):
        raise RefusalError(Reason.INVALID, f"{tensor.name} has something that is no whole number")
    try:
        return np.array(elements, np.int64).reshape(tensor.shape)
    except OverflowError:
        raise RefusalError(Reason.INVALID, f"{tensor.name} has a number that is too large for INT64") from None


def flat_data(tensor: GivenTensor, count: int) -> list[Any]:
    """Return a tensor's elements, which a client may send nested as its shape says, or flat."""
    assert tensor.data is not None
    found: list[Any] = tensor.data
    if found and isinstance(found[0], list) and len(tensor.shape) == 2:
        rows, columns = tensor.shape
        if len(found) != rows or any(not isinstance(row, list) or len(row) != columns for row in found):
            raise RefusalError(Reason.INVALID, f"{tensor.name}: the lists of its data do not have its shape")
        found = [each for row in found for each in row]
    _check_count(tensor, len(found), count)
    return found


def _check_count(tensor: GivenTensor, found: int, count: int) -> None:
    if found != count:
        raise RefusalError(Reason.INVALID, f"{tensor.name} has {found} elements, and its shape says {count}")


def bytes_of_texts(texts: Sequence[bytes]) -> bytes:
    """Return the bytes of a tensor of BYTES."""
    return b"".join(part for text in texts for part in (struct.pack("<I", len(text)), text))
