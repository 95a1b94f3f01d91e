"""Checkpoints of TensorFlow, written from the description of the format and without bertc's reader.

tensorflow: core/lib/io/table_builder.cc, core/util/tensor_bundle/tensor_bundle.cc, core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from tests.fixtures import edit_json

Entries = Mapping[bytes, bytes] | Sequence[tuple[bytes, bytes]]
TYPES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "float16": 19}
BFLOAT16 = 14
MAGIC = 0xDB4775248B80FB57
HEADER = bytes([0x08, 1, 0x1A, 2, 0x08, 1])  # one file, little endian, of producer 1


def varint(value: int) -> bytes:
    """Return a number in groups of seven bits."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def message(**fields: int | bytes) -> bytes:
    """Return a message of fields `f1=3, f2=b"..."`; `x6=` is a fixed number of 32 bits."""
    parts = []
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, bytes):
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
        elif name[0] == "x":
            parts.append(varint(number << 3 | 5) + value.to_bytes(4, "little"))
        else:
            parts.append(varint(number << 3) + varint(value))
    return b"".join(parts)


def header(shards: int = 1) -> bytes:
    """Return a header of so many files."""
    return message(f1=shards, f3=message(f1=1))


def masked(content: bytes) -> int:
    """Return the checksum as it is stored."""
    checksum = google_crc32c.value(content)
    return (((checksum >> 15) | (checksum << 17) & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def entry(array: NDArray[Any], *, shard: int = 0, offset: int = 0, dtype: int | None = None) -> bytes:
    """Return the entry of a tensor."""
    shape = b"".join(message(f2=message(f1=size)) for size in array.shape)
    fields: dict[str, int | bytes] = {"f1": TYPES[array.dtype.name] if dtype is None else dtype, "f2": shape}
    fields |= {"f3": shard} if shard else {}
    fields |= {"f4": offset} if offset else {}
    return message(**fields, f5=array.nbytes, x6=masked(array.tobytes()))


def block(entries: Entries, *, restart: int = 16) -> bytes:
    """Return a block without its trailer; keys share their beginnings, but for each `restart`-th."""
    written, restarts, before = b"", [], b""
    pairs = list(entries.items() if isinstance(entries, Mapping) else entries)
    for index, (key, value) in enumerate(pairs):
        shared = 0
        if index % restart == 0:
            restarts.append(len(written))
        else:
            while key[: shared + 1] == before[: shared + 1] and shared < len(key):
                shared += 1
        written += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    numbers = restarts or [0]
    return written + b"".join(number.to_bytes(4, "little") for number in (*numbers, len(numbers)))


def table(blocks: Sequence[bytes], *, compression: int = 0, places: Sequence[tuple[int, int]] | None = None) -> bytes:
    """Return a table of data blocks, with right checksums. `places` instead of the blocks' own: (offset, size)."""
    content, found = b"", []

    def place(one: bytes) -> bytes:
        nonlocal content
        found.append((len(content), len(one)))
        content += one + bytes([compression]) + masked(one + bytes([compression])).to_bytes(4, "little")
        return varint(found[-1][0]) + varint(found[-1][1])

    for one in blocks:
        place(one)
    handles = [varint(offset) + varint(size) for offset, size in places or found]
    metaindex = place(block({}))
    index = place(block([(f"{number:04}".encode(), handle) for number, handle in enumerate(handles)], restart=1))
    return content + (metaindex + index).ljust(40, b"\0") + MAGIC.to_bytes(8, "little")


def write_tensors(stem: Path, tensors: Mapping[str, NDArray[Any]], *, shards: int = 1, per_block: int = 7) -> Path:
    """Write STEM.index and STEM.data-...; return the index. Tensors go to the files in turn."""
    data, entries = [b""] * shards, {b"": header(shards)}
    for number, name in enumerate(sorted(tensors, key=str.encode)):
        shard, array = number % shards, np.asarray(tensors[name])
        entries[name.encode()] = entry(array, shard=shard, offset=len(data[shard]))
        data[shard] += array.tobytes()
    pairs = list(entries.items())
    blocks = [block(pairs[begin : begin + per_block]) for begin in range(0, len(pairs), per_block)]
    for shard, content in enumerate(data):
        stem.with_name(f"{stem.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    index = stem.with_name(f"{stem.name}.index")
    index.write_bytes(table(blocks))
    return index


def google_names(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a classifier's tensors under the names of Google's code, kernels transposed."""
    found: dict[str, NDArray[Any]] = {}
    for name, values in tensors.items():
        words = re.sub(r"\.layer\.", ".layer_", name).replace(".", "/")
        words = words.replace("LayerNorm/weight", "LayerNorm/gamma").replace("LayerNorm/bias", "LayerNorm/beta")
        words = words.replace("_embeddings/weight", "_embeddings")
        words = {"classifier/weight": "output_weights", "classifier/bias": "output_bias"}.get(words, words)
        if words.endswith("/weight"):
            words, values = f"{words.removesuffix('weight')}kernel", values.T
        found[words] = np.ascontiguousarray(values)
    return found


def with_slots(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Add an optimizer's slots, as Google's run_classifier.py leaves them."""
    slots = {f"{name}/{slot}": values + 1 for name, values in tensors.items() for slot in ("adam_m", "adam_v")}
    return {**tensors, **slots, "global_step": np.array(343, np.int64)}


def googled(folder: Path, *, shards: int = 1, slots: bool = True) -> Path:
    """Make of a tiny classifier in transformers' layout one in Google's, whose gelu is the one with tanh."""
    tensors = google_names(safetensors.numpy.load_file(folder / "model.safetensors"))
    write_tensors(folder / "bert_model.ckpt", with_slots(tensors) if slots else tensors, shards=shards)
    (folder / "bert_model.ckpt.meta").write_bytes(b"a graph, which nobody reads")
    edit_json(folder / "config.json", model_type=None, architectures=None, id2label=None, label2id=None)
    (folder / "config.json").rename(folder / "bert_config.json")
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder
