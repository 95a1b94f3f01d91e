"""Checkpoints of TensorFlow: every tensor bit by bit, every damage one sentence."""

from __future__ import annotations

import os
import random
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.checkpoint.tensorflow_file import TensorFlowFile
from bertc.checkpoint.tensorflow_table import FOOTER, MAX_ENTRIES, MAX_KEY, Cursor, entries_from_table, masked_checksum
from bertc.checkpoint.weights import weights_from_path
from bertc.errors import InputError
from tests.checkpoint.tensorflow_writer import (
    BFLOAT16,
    HEADER,
    block,
    entry,
    header,
    message,
    table,
    varint,
    write_tensors,
)

ONES = np.ones((2, 3), np.float32)
TENSORS: dict[str, NDArray[Any]] = {
    "bert/embeddings/word_embeddings": np.arange(24, dtype=np.float32).reshape(6, 4),
    "bert/encoder/layer_0/output/dense/kernel": np.arange(8, dtype=np.float32).reshape(2, 4) / 3,
    "bert/encoder/layer_0/output/dense/kernel/adam_m": np.zeros((2, 4), np.float32),
    "double": np.linspace(0, 1, 5),
    "empty": np.zeros((0, 4), np.float32),
    "global_step": np.array(7, np.int64),
    "half": np.arange(6, dtype=np.float16).reshape(3, 2),
    "scalar": np.array(3, np.float32),
}


THEIR_INDEX = (
    "AAAGCAEaAggBABYPYmVydC9wb29sZXIvZGVuc2UvYmlhcwgBEgQSAggDKAw1POcoThIGFWtlcm5lbAgBEggSAggCEgIIAyAM"
    "KBg1wNs9FxgHFS9hZGFtX20IARIIEgIIAhICCAMgJCgYNc/0X3wACw1nbG9iYWxfc3RlcAgJEgAgPCgINeDqA1YAAAAAAQAA"
    "AAARL3TeAAAAAAEAAAAAwPKhsAABA2gAkQEAAAAAAQAAAADeBnYXlgEIowEPAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAFf7gIskdUfb"
)
THEIR_DATA = "AAAAPwAAgL8AAEBAAAAAAAAAgD8AAABAAABAQAAAgEAAAKBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAVwEAAAAAAAA="


def opened(folder: Path, entries: dict[str, bytes] | None = None, *, data: bytes = ONES.tobytes()) -> TensorFlowFile:
    """Write a checkpoint of one block and open it."""
    pairs = [(name.encode(), value) for name, value in ({"a": entry(ONES)} if entries is None else entries).items()]
    return opened_bytes(folder, table([block([(b"", HEADER), *pairs])]), data=data)


def opened_bytes(folder: Path, index: bytes, *, data: bytes = ONES.tobytes()) -> TensorFlowFile:
    path = folder / "m.ckpt.index"
    path.write_bytes(index)
    (folder / "m.ckpt.data-00000-of-00001").write_bytes(data)
    return TensorFlowFile(path)


@pytest.mark.parametrize(("shards", "per_block"), [(1, 100), (1, 1), (3, 4)])
def test_every_tensor_is_what_was_written(tmp_path: Path, shards: int, per_block: int) -> None:
    file = TensorFlowFile(write_tensors(tmp_path / "m.ckpt", TENSORS, shards=shards, per_block=per_block))
    assert set(file) == set(TENSORS)
    for name, values in TENSORS.items():
        assert file.shape(name) == values.shape and file.size(name) == values.nbytes
        assert file.is_float(name) == (values.dtype.kind == "f")
        if file.is_float(name):
            assert file.array(name).tobytes() == values.astype(np.float32).tobytes()
    assert len(file.paths) == 1 + shards and all(path.is_file() for path in file.paths)


def test_a_file_of_tensorflow_s_own(tmp_path: Path) -> None:
    """Written by TensorFlow 2.21: tf.compat.v1.train.Saver of four variables."""
    (tmp_path / "model.ckpt.index").write_bytes(b64decode(THEIR_INDEX))
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(b64decode(THEIR_DATA))
    file = TensorFlowFile(tmp_path / "model.ckpt.index")
    kernel = "bert/pooler/dense/kernel"
    assert list(file) == ["bert/pooler/dense/bias", kernel, f"{kernel}/adam_m", "global_step"]
    assert file.array("bert/pooler/dense/bias").tolist() == [0.5, -1, 3]
    assert file.array(kernel).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (file.shape("global_step"), file.size("global_step"), file.dtype("global_step")) == ((), 8, "I64")
    weights = weights_from_path(tmp_path, prefix="bert.")
    assert set(weights) == {"pooler.dense.weight", "pooler.dense.bias"} and weights.ignored_bytes == 24 + 8


def test_a_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path) -> None:
    bits = np.array([0x3F80, 0xC000, 0x4049], np.uint16)
    stored = entry(bits.astype(np.float16), dtype=BFLOAT16)  # two bytes each; the checksum is another
    with pytest.raises(InputError, match="the bytes of tensor a have another checksum"):
        opened(tmp_path, {"a": stored}, data=bits.tobytes()).array("a")
    stored = entry(bits.view(np.float16), dtype=BFLOAT16)
    assert opened(tmp_path, {"a": stored}, data=bits.tobytes()).array("a").tolist() == [1, -2, 3.140625]


def test_names_are_the_model_s_and_slots_are_left_out(tmp_path: Path) -> None:
    tensors = {name: TENSORS[name] for name in TENSORS if "/" in name or name == "global_step"}
    write_tensors(tmp_path / "bert_model.ckpt", tensors)
    weights = weights_from_path(tmp_path, prefix="bert.")
    assert set(weights) == {"embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight"}
    assert weights.ignored_bytes == 2 * 4 * 4 + 8
    kernel = TENSORS["bert/encoder/layer_0/output/dense/kernel"]
    assert np.array_equal(weights.array("encoder.layer.0.output.dense.weight"), kernel.T)


def test_checksums_are_those_of_the_format() -> None:
    assert masked_checksum(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32
    assert masked_checksum(bytes(32)) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) % 2**32  # RFC 3720, B.4


def test_weights_are_mapped_and_not_read(tmp_path: Path) -> None:
    size = 4 * 2**30  # a sparse file: reading it whole would take 4 GiB
    huge = message(f1=1, f2=message(f2=message(f1=size // 4)), f5=size, x6=0)
    data = tmp_path / "m.ckpt.data-00000-of-00001"
    data.touch()
    os.truncate(data, size + ONES.nbytes)
    with data.open("r+b") as stream:
        stream.seek(size)
        stream.write(ONES.tobytes())
    (tmp_path / "m.ckpt.index").write_bytes(
        table([block([(b"", HEADER), (b"huge", huge), (b"small", entry(ONES, offset=size))])])
    )
    file = TensorFlowFile(tmp_path / "m.ckpt.index")
    assert np.array_equal(file.array("small"), ONES)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"a": entry(ONES, offset=4)}, r"data-00000-of-00001 is truncated \(24 bytes; tensor a ends at byte 28\)"),
        ({"a": entry(ONES, shard=1)}, "the tensor a lies in file 1 of 1"),
        ({"a": entry(ONES), "b": entry(ONES)}, "byte 0: the tensor b overlaps another"),
        ({"a": message(f1=1, f2=message(f2=message(f1=7)), f5=24)}, r"the tensor a, F32 \[7\], has 24 bytes"),
        ({"a": message(f1=1, f2=message(f2=message(f1=2**64 - 1)), f5=24)}, r"F32 \[18446744073709551615\]"),
        ({"a": message(f1=1, f2=message(f2=message(f1=6)), f4=2**63, f5=24)}, "is truncated"),
        ({"a": message(f1=1, f2=message(f3=1), f5=24)}, "the tensor a has no shape"),
        ({"a": message(f1=1, f2=message(f2=b"") * 255)}, "the tensor a has no shape"),
        ({"a": entry(ONES) + message(f7=b"")}, "lies in slices; save it without partitions"),
        ({"\0a": entry(ONES)}, "lies in slices"),
        ({"a": b"\x0b" + entry(ONES)}, "a field of the unknown kind 3"),
        ({"a": varint(8) + b"\xff" * 10}, "a number has more than 64 bits"),
        ({"a": entry(ONES)[:-1]}, "an entry ends beyond its block"),
        ({"_CHECKPOINTABLE_OBJECT_GRAPH": message(f1=7, f5=24)}, r"TensorFlow 2 by objects.*tf\.compat\.v1"),
    ],
)
def test_an_entry_that_cannot_be(tmp_path: Path, entries: dict[str, bytes], told: str) -> None:
    with pytest.raises(InputError, match=told):
        opened(tmp_path, entries)
    assert np.array_equal(opened(tmp_path).array("a"), ONES)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ((b"", b""), "in how many files"),
        ((b"", message(f1=100_000)), "in how many files"),
        ((b"a", entry(ONES)), "in how many files"),
        ((b"", header() + message(f2=1)), "most significant byte first"),
        ((b"", message(f1=1, f3=message(f1=2, f2=2))), "a reader of a newer version"),
        ((b"", header(2)), r"names m\.ckpt\.data-00000-of-00002, which is missing"),
    ],
)
def test_a_header_that_cannot_be(tmp_path: Path, first: tuple[bytes, bytes], told: str) -> None:
    with pytest.raises(InputError, match=told):
        opened_bytes(tmp_path, table([block([first, (b"b", entry(ONES))])]))


GOOD = block([(b"", HEADER), (b"a", entry(ONES))])


@pytest.mark.parametrize(
    ("index", "told"),
    [
        (b"", "is truncated or no index"),
        (table([GOOD])[:-1], "is truncated or no index"),
        (table([GOOD])[40:], "a block ends at byte"),
        (b"\0" * 40 + table([GOOD])[-8:], "beyond the file's 48 or in its footer"),
        (b"\xff" * 40 + table([GOOD])[-8:], "a number has more than 64 bits"),
        (table([GOOD], compression=1), "is compressed, as TensorFlow never writes it"),
        (table([GOOD], places=[(0, 2**40)]), f"a block ends at byte {2**40}"),
        (table([GOOD], places=[(0, len(GOOD)), (0, len(GOOD))]), "its blocks overlap at byte 0"),
        (table([GOOD], places=[(0, len(GOOD) - 1)]), "the checksum of the block at byte 0 is wrong"),
        (table([GOOD, GOOD]), "the key b'' stands twice, or behind a greater one"),
        (table([block([(b"b", b""), (b"a", b"")])]), "the key b'a' stands twice, or behind"),
        (table([block([(b"a", b""), (b"a", b"")])]), "the key b'a' stands twice, or behind"),
        (table([b""]), "a block ends before its entries do"),
        (table([b"\xff" * 4]), "a block ends before its entries do"),
        (table([b"\x01\x01\x00a" + b"\0" * 4]), "a key shares 1 bytes with one of 0"),
        (table([block([(b"k" * (MAX_KEY + 1), b"")])]), f"or is longer than {MAX_KEY}"),
        (table([varint(0) + varint(2**60) + b"\0" * 5]), "or is longer"),
        (table([varint(0) + varint(1) + varint(2**60) + b"a" + b"\0" * 4]), "an entry ends beyond its block"),
        (table([block([(b"", HEADER), (b"\xff", entry(ONES))])]), "'utf-8' codec can't decode"),
    ],
)
def test_a_table_that_cannot_be(tmp_path: Path, index: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        opened_bytes(tmp_path, index)


def test_a_table_of_too_many_entries(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"it has more than {MAX_ENTRIES} entries"):
        entries_from_table(tmp_path, table([block([(f"{i:06}".encode(), b"") for i in range(MAX_ENTRIES + 1)])]))


def test_an_index_of_too_many_bytes(tmp_path: Path) -> None:
    (tmp_path / "m.ckpt.index").touch()
    os.truncate(tmp_path / "m.ckpt.index", 2**30)
    with pytest.raises(InputError, match="has more than 16 MiB"):
        TensorFlowFile(tmp_path / "m.ckpt.index")


def test_a_changed_byte_of_a_tensor_is_found(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "m.ckpt", {"a": ONES, "b": ONES})
    data = tmp_path / "m.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    file = TensorFlowFile(path)
    assert np.array_equal(file.array("a"), ONES)
    with pytest.raises(InputError, match="the bytes of tensor b have another checksum"):
        file.array("b")


def test_a_changed_bit_of_the_index_is_found(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "m.ckpt", TENSORS)
    content = path.read_bytes()
    shapes = {name: values.shape for name, values in TENSORS.items()}
    for place in range(len(content) * 8):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            file = TensorFlowFile(path)
        except InputError:
            continue
        assert place // 8 >= len(content) - FOOTER, "what fills the footer up is read by nobody"
        assert {name: file.shape(name) for name in file} == shapes


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Change, remove, repeat or insert a few bytes."""
    changed = bytearray(content)
    for _ in range(generator.randint(1, 3)):
        begin = generator.randrange(len(changed) + 1)
        piece = changed[begin : begin + generator.randint(0, 4)]
        special = generator.choice([b"", b"\0", b"\xff", b"\xff" * 10, b"\x80", piece * 2, generator.randbytes(2)])
        changed[begin : begin + len(piece)] = special
    return bytes(changed)


def damaged_blocks(generator: random.Random) -> bytes:
    """Return a table whose checksums are right and whose blocks, or their places, are not."""
    entries = [(b"", HEADER), *((name.encode(), entry(values)) for name, values in TENSORS.items())]
    blocks = [block(entries[:4], restart=2), block(entries[4:])]
    if generator.random() < 0.2:
        places = [(generator.randrange(200), generator.choice([0, 4, 60, 2**31, 2**63])) for _ in blocks]
        return table(blocks, places=places)
    if generator.random() < 0.5:
        index = generator.randrange(len(entries))
        entries[index] = (entries[index][0], mutated(entries[index][1], generator))
        return table([block(entries[:4]), block(entries[4:])])
    return table([mutated(one, generator) for one in blocks])


def damaged_bytes(generator: random.Random) -> bytes:
    """Return a table changed anywhere."""
    return mutated(damaged_blocks(generator), generator)


@pytest.mark.parametrize("damage", [damaged_blocks, damaged_bytes])
def test_a_mutated_index_is_refused_or_read_and_quickly(
    tmp_path: Path, damage: Callable[[random.Random], bytes]
) -> None:
    generator, outcomes = random.Random(7), set()
    begin = time.process_time()
    for _ in range(1000):
        try:
            file = opened_bytes(tmp_path, damage(generator), data=bytes(400))
            outcomes.add("opened")
            for name in file:
                if file.is_float(name):
                    file.array(name)
        except InputError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes >= {"refused"}
    assert time.process_time() - begin < 10


def test_a_cursor_reads_to_the_end_and_no_further() -> None:
    cursor = Cursor(varint(300) + b"ab" + varint(2**64 - 1))
    assert (cursor.varint(), cursor.take(2), cursor.varint(), bool(cursor)) == (300, b"ab", 2**64 - 1, False)
    with pytest.raises(ValueError, match="ends beyond"):
        cursor.varint()
    with pytest.raises(ValueError, match="more than 64 bits"):
        Cursor(varint(2**64)).varint()
