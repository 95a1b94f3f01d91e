"""Weight files: types, names, shards, and every way of being damaged."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.weights import weights_from_path
from bertc.errors import InputError
from tests.fixtures import edit_json, write_json, write_safetensors, write_tiny_bert

FILE = "model.safetensors"
HEADER = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def write_raw(path: Path, header: Any, content: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + content)


@pytest.mark.parametrize(("dtype", "bits"), [("float32", 24), ("float16", 11), ("bfloat16", 8)])
def test_types_become_float32(tmp_path: Path, dtype: str, bits: int) -> None:
    exact = weights_from_path(write_tiny_bert(tmp_path / "exact", dtype="float32"), prefix="bert.")
    weights = weights_from_path(write_tiny_bert(tmp_path / "model", dtype=dtype), prefix="bert.")
    assert list(weights) == list(exact)
    assert weights.parameters == sum(exact.array(name).size for name in exact)
    for name in weights:
        values = weights.array(name)
        assert values.dtype == np.float32
        assert values.shape == weights.shape(name) == exact.shape(name)
        np.testing.assert_allclose(values, exact.array(name), rtol=2.0 ** (1 - bits), atol=1e-7)


def test_agrees_with_the_format_s_own_library(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "scalar": np.array(3, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "double": np.linspace(0, 1, 5),
    }
    safetensors.numpy.save_file(arrays, tmp_path / FILE, metadata={"format": "pt"})
    weights = weights_from_path(tmp_path, prefix="")
    for name, values in arrays.items():
        np.testing.assert_array_equal(weights.array(name), values.astype(np.float32))
    assert weights.parameters == 1 + 0 + 6 + 5


def test_names_lose_the_prefix_and_old_words(tmp_path: Path) -> None:
    ones = np.ones(2, np.float32)
    names = ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.beta", "classifier.weight")
    write_safetensors(tmp_path / FILE, dict.fromkeys(names, ones))
    assert set(weights_from_path(tmp_path, prefix="bert.")) == {
        "embeddings.LayerNorm.weight",
        "embeddings.LayerNorm.bias",
        "classifier.weight",
    }


def test_two_tensors_of_one_name(tmp_path: Path) -> None:
    ones = np.ones(2, np.float32)
    write_safetensors(tmp_path / FILE, {"bert.a": ones, "a": ones})
    with pytest.raises(InputError, match=r"bert\.a and a are both a"):
        weights_from_path(tmp_path, prefix="bert.")


@pytest.mark.parametrize(
    "name",
    [
        "bert.embeddings.position_ids",
        "embeddings.position_ids",
        "cls.predictions.bias",
        "cls.seq_relationship.weight",
        "bert.pooler.dense.weight.exp_avg",
        "bert.pooler.dense.weight.exp_avg_sq",
        "bert/pooler/dense/kernel/adam_m",
        "bert.pooler.dense.weight.adam_v",
        "optimizer.state.0.step",
        "exp_avg.bert.pooler.dense.weight",
    ],
)
def test_what_is_no_part_of_the_model_is_counted(tmp_path: Path, name: str) -> None:
    write_safetensors(tmp_path / FILE, {"bert.a": np.ones(2, np.float32), name: np.arange(5)})
    weights = weights_from_path(tmp_path, prefix="bert.")
    assert list(weights) == ["a"]
    assert (weights.parameters, weights.ignored_bytes) == (2, 40)


@pytest.mark.parametrize("name", ["cls_token", "encoder.adam_meter.weight", "embeddings.position_embeddings.weight"])
def test_what_only_looks_like_it_stays(tmp_path: Path, name: str) -> None:
    write_safetensors(tmp_path / FILE, {name: np.ones(2, np.float32)})
    weights = weights_from_path(tmp_path, prefix="bert.")
    assert list(weights) == [name]
    assert weights.ignored_bytes == 0


def test_a_missing_tensor_is_named(tiny: Path) -> None:
    weights = weights_from_path(tiny, prefix="bert.")
    assert "nothing.weight" not in weights
    for read in (weights.array, weights.shape):
        with pytest.raises(InputError, match=r"lacks the tensor nothing\.weight"):
            read("nothing.weight")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number(tmp_path: Path, value: float, dtype: str) -> None:
    write_safetensors(tmp_path / FILE, {"good": np.ones(3, np.float32), "bad": np.array([1, value], np.float32)}, dtype)
    weights = weights_from_path(tmp_path, prefix="")
    assert weights.array("good").sum() == 3
    with pytest.raises(InputError, match="tensor bad holds 1 NaN or infinite values of 2"):
        weights.array("bad")


def test_a_double_beyond_float32(tmp_path: Path) -> None:
    write_safetensors(tmp_path / FILE, {"bad": np.array([1e300])})
    with pytest.raises(InputError, match="tensor bad holds 1 NaN or infinite"):
        weights_from_path(tmp_path, prefix="").array("bad")


def test_integers_are_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path / FILE, {"a": np.arange(3)})
    with pytest.raises(InputError, match="tensor a has the type I64"):
        weights_from_path(tmp_path, prefix="")


def test_weights_are_mapped_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / FILE
    size = 4 * 2**30  # a sparse file: reading it whole would take 4 GiB
    header = {"huge": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    header["small"] = {"dtype": "F32", "shape": [2], "data_offsets": [size, size + 8]}
    write_raw(path, header, b"")
    os.truncate(path, path.stat().st_size + size + 8)
    weights = weights_from_path(tmp_path, prefix="")
    assert weights.shape("huge") == (size // 4,)
    assert weights.array("small").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("header", "content", "length", "told"),
    [
        (HEADER, b"\0" * 7, None, "is truncated .*tensor a ends at byte"),
        (HEADER, b"\0" * 9, None, "1 bytes at its end belong to no tensor"),
        (HEADER, b"\0" * 8, 2**60, "is truncated or no safetensors file"),
        (HEADER, b"\0" * 8, 500, "is truncated or no safetensors file"),
        (HEADER, b"\0" * 8, 5, "its header is not JSON"),
        (b"\xff\xff", b"", None, "its header is not JSON"),
        (b"[1]", b"", None, "its header is no JSON object"),
        (b'{"a": 3}', b"", None, "bad header entry of tensor a"),
        ({"a": {"dtype": "F32", "shape": [2]}}, b"", None, "bad header entry of tensor a"),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, b"", None, "bad header entry of tensor a"),
        ({"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}}, b"", None, "bad header entry of tensor a"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}}, b"", None, "bad header entry"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, b"", None, "bad header entry"),
        ({"a": {"dtype": "Q4", "shape": [2], "data_offsets": [0, 1]}}, b"\0", None, "unknown type 'Q4'"),
        ({"a": {"dtype": [], "shape": [2], "data_offsets": [0, 1]}}, b"\0", None, "unknown type"),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"\0" * 8, None, "needs 12 bytes and has 8"),
        ({**HEADER, "b": {**HEADER["a"], "data_offsets": [4, 12]}}, b"\0" * 12, None, "tensor b overlaps another"),
        ({**HEADER, "b": {**HEADER["a"], "data_offsets": [9, 17]}}, b"\0" * 17, None, "b leaves a hole before"),
        ({}, b"", None, "holds no weights"),
    ],
)
def test_damaged_files(tmp_path: Path, header: Any, content: bytes, length: int | None, told: str) -> None:
    write_raw(tmp_path / FILE, header, content, length)
    with pytest.raises(InputError, match=rf"model\.safetensors.*{told}") as error:
        weights_from_path(tmp_path, prefix="")
    assert "; " in str(error.value)


def test_a_tensor_that_is_named_twice(tmp_path: Path) -> None:
    entry = '{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    write_raw(tmp_path / FILE, f'{{"a": {entry}, "a": {entry}}}'.encode(), b"\0" * 8)
    with pytest.raises(InputError, match="it names a twice"):
        weights_from_path(tmp_path, prefix="")
    write_raw(tmp_path / FILE, f'{{"a": {entry}}}'.encode(), b"\0" * 8)
    assert list(weights_from_path(tmp_path, prefix="")) == ["a"]


def test_no_flipped_byte_gets_past_with_another_error(tiny: Path) -> None:
    path, dice = tiny / FILE, random.Random(0)
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little")
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[dice.randrange(8 + header)] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            weights = checkpoint_from_path(tiny).weights
            for name in weights:
                weights.array(name)
        except InputError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_truncated_files(tiny: Path, size: int) -> None:
    path = tiny / FILE
    os.truncate(path, size if size >= 0 else path.stat().st_size - 1)
    with pytest.raises(InputError, match=r"model\.safetensors is truncated"):
        checkpoint_from_path(tiny)


def test_a_git_lfs_pointer_is_no_checkpoint(tiny: Path) -> None:
    (tiny / FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(InputError, match="truncated or no safetensors file"):
        checkpoint_from_path(tiny)


def test_no_weights_at_all(tiny: Path) -> None:
    (tiny / FILE).unlink()
    with pytest.raises(InputError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        checkpoint_from_path(tiny)


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    whole = weights_from_path(write_tiny_bert(tmp_path / "one"), prefix="bert.")
    parts = weights_from_path(write_tiny_bert(tmp_path / "three", shards=3), prefix="bert.")
    assert len(parts.files) == 3
    assert set(parts) == set(whole)
    for name in whole:
        np.testing.assert_array_equal(parts.array(name), whole.array(name))


def test_one_file_beside_shards_is_told(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path, shards=3)
    assert not weights_from_path(folder, prefix="bert.").notes
    write_safetensors(folder / FILE, {"bert.a": np.ones(2, np.float32)})
    weights = weights_from_path(folder, prefix="bert.")
    assert (list(weights), weights.files) == (["a"], (folder / FILE,))
    (note,) = weights.notes
    assert "model.safetensors was read, as transformers does, and not the shards" in note
    for shard in folder.glob("model-*"):
        shard.unlink()
    assert not weights_from_path(folder, prefix="bert.").notes


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"a": "../../outside.safetensors"}, "lies outside the checkpoint's folder"),
        ({"a": "/etc/passwd"}, "lies outside the checkpoint's folder"),
        ({"a": "link.safetensors"}, "lies outside the checkpoint's folder"),
        ({"a": "..\\outside.safetensors"}, "no relative path"),
        ({"a": "config.json"}, r"no \.safetensors file"),
        ({"a": "absent.safetensors"}, "is missing; download or copy all shards"),
        ({"a": None}, "names 'None'|None, which"),
        ({"absent": "model-00001-of-00002.safetensors"}, "holds absent, which it does not"),
        ({}, "has no weight_map"),
        (None, "has no weight_map"),
        (["a"], "has no weight_map"),
    ],
)
def test_hostile_or_broken_index(tmp_path: Path, entries: Any, told: str) -> None:
    model = write_tiny_bert(tmp_path / "model", shards=2)
    write_safetensors(tmp_path / "outside.safetensors", {"a": np.ones(2, np.float32)})
    (model / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    write_json(model / "model.safetensors.index.json", {"weight_map": entries})
    with pytest.raises(InputError, match=rf"index\.json.*({told})"):
        checkpoint_from_path(model)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    for shard in "12":
        write_safetensors(tmp_path / f"model-{shard}.safetensors", {"a": np.ones(2, np.float32)})
    entries = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    write_safetensors(tmp_path / "model-2.safetensors", dict.fromkeys("ab", np.ones(2, np.float32)))
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": entries})
    with pytest.raises(InputError, match="tensors a and a are both a"):
        weights_from_path(tmp_path, prefix="")


def test_messages_are_one_sentence(tiny: Path) -> None:
    edit_json(tiny / "config.json", model_type="gpt2")
    with pytest.raises(InputError) as error:
        checkpoint_from_path(tiny)
    assert re.fullmatch(r"[^\n]+; [^\n]+", str(error.value))
