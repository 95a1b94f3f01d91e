"""A TensorFlow checkpoint by names, as Google's BERT has it: an index of tensors, and files of their bytes.

STEM.index is a table (`tensorflow_table`) of messages of Protocol Buffers, STEM.data-00000-of-0000N are mapped and read
when asked for. The messages (tensorflow, core/protobuf/tensor_bundle.proto), with the numbers of their fields:

    ""       BundleHeaderProto   number of files 1, endianness 2 (0: little), version 3 {least reader's 2}
    a name   BundleEntryProto    type 1, shape 2 {axis 2 {size 1}, unknown rank 3}, file 3, offset 4, size 5,
                                 masked CRC32C 6, slices 7

Nobody but TensorFlow reads these files, which takes 500 MB to install.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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
from bertc.checkpoint.tensorflow_table import AGAIN, Cursor, entries_from_table, masked_checksum
from bertc.errors import InputError

TYPES: Mapping[int, str] = MappingProxyType(
    {
        1: "F32",
        2: "F64",
        3: "I32",
        4: "U8",
        5: "I16",
        6: "I8",
        9: "I64",
        10: "BOOL",
        14: "BF16",
        17: "U16",
        19: "F16",
        22: "U32",
        23: "U64",
    }
)
"""TensorFlow's numbers of types (core/framework/types.proto) in safetensors' words."""

MAX_INDEX = 16 * 2**20  # bytes; BERT-large with an optimizer's slots has 0.1 MB
MAX_AXES = 254  # TensorFlow's own limit
VERSION = 1
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(StoredTensor):
    """What the index says of one tensor: type, shape, and where in which file its bytes lie."""

    shard: int
    checksum: int


class TensorFlowFile(StoredTensors[Entry]):
    """A checkpoint of TensorFlow, by its index. Opening it reads the index only, and maps the rest.

    Raises `InputError` if a file is missing, truncated or damaged, and for tensors in slices. `paths` are the index and
    the files of bytes.
    """

    def __init__(self, path: Path) -> None:
        """Read the index and check that the files have the bytes that it names."""
        self.path = path
        entries = entries_from_table(path, _content(path))
        try:
            shards = _shards_from_header(entries.pop(b"", b""))
            self._tensors = dict(_tensor_from_entry(name, value, shards) for name, value in entries.items())
            _check_overlap(self._tensors)
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); {AGAIN}") from error
        if OBJECT_GRAPH in self._tensors:
            raise InputError(
                f"{path} is a checkpoint of TensorFlow 2 by objects, whose tensors have no names of BERT; save it with "
                "transformers, or as Google's code does (tf.compat.v1.train.Saver)"
            )
        used = sorted({tensor.shard for tensor in self._tensors.values()})
        files = {shard: path.with_name(f"{path.stem}.data-{shard:05d}-of-{shards:05d}") for shard in used}
        self.paths: tuple[Path, ...] = (path, *files.values())
        self._maps = {shard: _mapped(path, file) for shard, file in files.items()}
        for name, tensor in self._tensors.items():
            size = len(self._maps[tensor.shard])
            if tensor.end > size:
                raise InputError(
                    f"{files[tensor.shard]} is truncated ({size} bytes; tensor {name} ends at byte {tensor.end}); "
                    f"{AGAIN}"
                )

    def array(self, name: str) -> NDArray[np.float32]:
        """Read a floating-point tensor as float32. Raises `InputError` if its bytes have another checksum."""
        tensor = self._tensors[name]
        kind, count = NUMPY_FLOATS[tensor.dtype], math.prod(tensor.shape)
        stored: NDArray[Any] = np.frombuffer(self._maps[tensor.shard], kind, count, tensor.begin)
        if masked_checksum(stored) != tensor.checksum:
            raise InputError(f"{self.path}: the bytes of tensor {name} have another checksum than it says; {AGAIN}")
        return floats_from_stored(stored, tensor.dtype).reshape(tensor.shape)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_INDEX:
            raise InputError(f"{path} has more than {MAX_INDEX // 2**20} MiB, which no index of BERT has; {AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check that it exists, readable") from error


def _mapped(index: Path, path: Path) -> mmap.mmap | bytes:
    try:
        with path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    except FileNotFoundError as error:
        raise InputError(f"{index} names {path.name}, which is missing; download or copy all files") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check that it is readable") from error


def _fields(message: bytes) -> tuple[dict[int, int], dict[int, list[bytes]]]:
    """Return the numbers of a message by field, the last where one is repeated, and its strings and messages."""
    numbers: dict[int, int] = {}
    parts: dict[int, list[bytes]] = {}
    cursor = Cursor(message)
    while cursor:
        field, kind = divmod(cursor.varint(), 8)
        if kind == 0:
            numbers[field] = cursor.varint()
        elif kind == 2:
            parts.setdefault(field, []).append(cursor.take(cursor.varint()))
        elif kind in (1, 5):
            numbers[field] = cursor.fixed(8 if kind == 1 else 4)
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
    return numbers, parts


def _shards_from_header(header: bytes) -> int:
    """Return the number of files. Raises `ValueError` for a header that is missing or another machine's."""
    numbers, parts = _fields(header)
    if not 0 < numbers.get(1, 0) < 100_000:  # their names have five digits
        raise ValueError("it does not say in how many files the tensors lie")
    if numbers.get(2, 0):
        raise ValueError("its numbers have the most significant byte first")
    if any(_fields(version)[0].get(2, 0) > VERSION for version in parts.get(3, [])):
        raise ValueError("it wants a reader of a newer version of the format")
    return numbers[1]


def _tensor_from_entry(key: bytes, message: bytes, shards: int) -> tuple[str, Entry]:
    numbers, parts = _fields(message)
    if parts.get(7) or key.startswith(b"\0"):
        raise ValueError(f"the tensor {key!r:.100} lies in slices; save it without partitions")
    name = key.decode("utf-8")
    shape = tuple(_axes(name, parts.get(2, [])))
    shard, begin, size = (numbers.get(field, 0) for field in (3, 4, 5))
    dtype = TYPES.get(numbers.get(1, 0), f"type {numbers.get(1, 0)}")
    if shard >= shards:
        raise ValueError(f"the tensor {name} lies in file {shard} of {shards}")
    if dtype in ITEM_BYTES and math.prod(shape) * ITEM_BYTES[dtype] != size:
        raise ValueError(f"the tensor {name}, {dtype} {list(shape)}, has {size} bytes")
    return name, Entry(dtype=dtype, shape=shape, shard=shard, begin=begin, end=begin + size, checksum=numbers.get(6, 0))


def _axes(name: str, shapes: list[bytes]) -> Iterator[int]:
    for shape in shapes:
        numbers, parts = _fields(shape)
        axes = parts.get(2, [])
        if numbers.get(3) or len(axes) > MAX_AXES:
            raise ValueError(f"the tensor {name} has no shape")
        yield from (_fields(axis)[0].get(1, 0) for axis in axes)


def _check_overlap(tensors: Mapping[str, Entry]) -> None:
    """Check that no byte belongs to two tensors. Raises `ValueError` for one that does."""
    ends: dict[int, int] = {}
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].shard, item[1].begin, item[1].end)):
        if tensor.begin < ends.get(tensor.shard, 0):
            raise ValueError(f"byte {tensor.begin}: the tensor {name} overlaps another")
        ends[tensor.shard] = tensor.end
