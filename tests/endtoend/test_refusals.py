"""Input that is wrong: exit code 2, one sentence that names the place, and no output folder."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.endtoend.conftest import TEXTS, Bertc, Called, Place, report_of, write_labelled, write_place
from tests.fixtures import edit_json, tiny_tensors, write_safetensors, write_tiny_bert

Damage = Callable[[Path], None]
SIZES = {
    "vocab_size": 0,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
}


def copied(place: Place, folder: Path) -> Place:
    """Copy a checkpoint and its data, to be damaged."""
    shutil.copytree(place.checkpoint.parent, folder)
    return Place(checkpoint=folder / "checkpoint", train=folder / "train.tsv", dev=folder / "dev.tsv")


def refused(bertc: Bertc, place: Place, out: Path, *options: object, code: int = 2) -> str:
    """Build, expecting one sentence and nothing on disk."""
    called = bertc(*place.build(out, *options))
    assert called.code == code, called.err
    assert not out.exists()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(f".{out.name}.bertc")]
    return called.error


# --- the checkpoint ---------------------------------------------------------------------------------------------------


def truncate(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def spoil_header(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[8:16] = b"\xff" * 8
    weights.write_bytes(content)


def spoil_length(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes((1 << 60).to_bytes(8, "little") + weights.read_bytes()[8:])


def empty_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"")


def no_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()


def tensors_of(checkpoint: Path) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    words = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    return {**tiny_tensors("sequence-classification", SIZES | {"vocab_size": words}, scores=2)}


def not_a_number(checkpoint: Path) -> None:
    tensors = tensors_of(checkpoint)
    tensors["bert.encoder.layer.1.output.dense.weight"][3, 5] = np.nan
    write_safetensors(checkpoint / "model.safetensors", tensors)


def infinite(checkpoint: Path) -> None:
    tensors = tensors_of(checkpoint)
    tensors["bert.embeddings.word_embeddings.weight"][7, 0] = np.inf
    write_safetensors(checkpoint / "model.safetensors", tensors)


def without_a_tensor(checkpoint: Path) -> None:
    tensors = tensors_of(checkpoint)
    del tensors["bert.encoder.layer.0.intermediate.dense.bias"]
    write_safetensors(checkpoint / "model.safetensors", tensors)


def hostile_pickle(checkpoint: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (checkpoint / "pwned",)

    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile()))


def without_tokenizer(checkpoint: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (checkpoint / name).unlink()


def config(**entries: Any) -> Damage:
    return lambda checkpoint: edit_json(checkpoint / "config.json", **entries)


def broken_config(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text('{"model_type": "bert"')


DAMAGES: dict[str, tuple[Damage, str]] = {
    "truncated weights": (truncate, "model.safetensors"),
    "a corrupt header": (spoil_header, "model.safetensors"),
    "an absurd header length": (spoil_length, "model.safetensors"),
    "an empty weights file": (empty_weights, "model.safetensors"),
    "no weights": (no_weights, "model.safetensors"),
    "a NaN": (not_a_number, "bert.encoder.layer.1.output.dense.weight"),
    "an infinity": (infinite, "bert.embeddings.word_embeddings.weight"),
    "a missing tensor": (without_a_tensor, "encoder.layer.0.intermediate.dense.bias"),
    "another hidden size": (config(hidden_size=32), "[151, 64] where config.json implies [151, 32]"),
    "more layers than weights": (config(num_hidden_layers=3), "encoder.layer.2"),
    "heads that do not divide": (config(num_attention_heads=3), "num_attention_heads"),
    "another vocabulary": (config(vocab_size=100), "vocab_size"),
    "an unknown family": (config(model_type="longformer"), "longformer"),
    "no family": (config(model_type=None), "model_type"),
    "an unknown activation": (config(hidden_act="mish"), "mish"),
    "relative positions": (config(position_embedding_type="relative_key"), "relative_key"),
    "config.json cut off": (broken_config, "config.json"),
    "no config.json": (lambda checkpoint: (checkpoint / "config.json").unlink(), "config.json"),
    "no tokenizer": (without_tokenizer, "tokenizer"),
    "a hostile pickle": (hostile_pickle, "pytorch_model.bin"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused(bertc: Bertc, place: Place, tmp_path: Path, damage: str) -> None:
    spoilt = copied(place, tmp_path / "in")
    change, word = DAMAGES[damage]
    change(spoilt.checkpoint)
    error = refused(bertc, spoilt, tmp_path / "out")
    assert word in error
    assert not (spoilt.checkpoint / "pwned").exists(), "the pickle's code ran"


def test_a_checkpoint_that_is_rewritten_the_same_way_builds(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    same = copied(place, tmp_path / "in")
    write_safetensors(same.checkpoint / "model.safetensors", tensors_of(same.checkpoint))
    assert bertc(*same.build(tmp_path / "out")).code == 0


def test_a_checkpoint_that_does_not_exist(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    nowhere = Place(checkpoint=tmp_path / "nowhere", train=place.train, dev=place.dev)
    assert "nowhere" in refused(bertc, nowhere, tmp_path / "out")


# --- the data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["--calibration-data", "--validation-data"])
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"text\tlabel\n", "no rows"),
        (b"colour\tlabel\nred\t5\n", "colour, label"),
        (b"text\tlabel\n\tpositive\n", "text"),
        (b"text\tlabel\na\xff\xfe\x00b\tpositive\n", "UTF-8"),
    ],
    ids=["empty", "header only", "missing column", "empty text", "not text"],
)
def test_data_that_cannot_be_used(
    bertc: Bertc, place: Place, tmp_path: Path, which: str, content: bytes, word: str
) -> None:
    path = tmp_path / "bad.tsv"
    path.write_bytes(content)
    error = refused(bertc, place, tmp_path / "out", which, path)
    assert path.name in error
    assert word in error


@pytest.mark.parametrize("which", ["--calibration-data", "--validation-data"])
def test_data_that_is_not_there(bertc: Bertc, place: Place, tmp_path: Path, which: str) -> None:
    error = refused(bertc, place, tmp_path / "out", which, tmp_path / "nowhere.tsv")
    assert "no such file" in error


def test_labels_that_the_checkpoint_does_not_know(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    path = write_labelled(tmp_path / "dev.tsv", TEXTS, ("negative", "neutral"))
    error = refused(bertc, place, tmp_path / "out", "--validation-data", path)
    assert "neutral" in error
    assert "positive" in error, "the labels that there are"
    assert f"{path}:3" in error or "line 3" in error


def test_calibration_text_needs_no_known_labels(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    path = write_labelled(tmp_path / "train.tsv", TEXTS, ("other", "unheard of"))
    assert bertc(*place.build(tmp_path / "out", "--calibration-data", path)).code == 0


def test_a_column_that_is_not_there(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    error = refused(bertc, place, tmp_path / "out", "--validation-column", "text=sentence")
    assert "sentence" in error
    assert "text, label" in error


def test_no_validation_data_and_nobody_said_so(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    called = bertc("build", place.checkpoint, "-o", tmp_path / "out", "--calibration-data", place.train)
    assert called.code == 2
    assert "--unvalidated" in called.error
    assert not (tmp_path / "out").exists()


def test_no_calibration_text(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    called = bertc("build", place.checkpoint, "-o", tmp_path / "out", "--validation-data", place.dev)
    assert called.code == 2
    assert "--calibration-data" in called.error


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--max-drop", "1"), "1%"),
        (("--max-drop", "-1%"), "-1%"),
        (("--max-drop", "200%"), "200%"),
        (("--gate", "accuracy"), "METRIC:LIMIT"),
        (("--gate", "bleu:1%"), "bleu"),
        (("--gate", "recall[neutral]:1%"), "neutral"),
        (("--keep-float", "layer.7"), "layer.7"),
        (("--keep-float", "attention_gemm_typo"), "attention_gemm_typo"),
        (("--max-length", "65"), "64"),
        (("--task", "question-answering"), "question-answering"),
        (("--int8-mode", "4"), "4"),
        (("--min-agreement", "2"), "2"),
        (("--calibrator", "median"), "median"),
        (("--percentile", "50"), "50"),
        (("--smoothing", "1"), "smoothing"),
        (("--calibration-samples", "0"), "0"),
        (("--threads", "9999"), "256"),
        (("--threads", "-1"), "-1"),
        (("--validation-colum", "text=text"), "--validation-column"),
        (("--unvalidated",), "--unvalidated"),
        (("extra",), "extra"),
        (("--validation-column", "text"), "ROLE=NAME"),
        (("--validation-column", "flavour=text"), "flavour"),
        (("--recipe", "nowhere.toml"), "nowhere.toml"),
        (("--calibration", "nowhere.json"), "nowhere.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_options_that_make_no_sense(
    bertc: Bertc, place: Place, tmp_path: Path, options: tuple[str, ...], word: str
) -> None:
    assert word in refused(bertc, place, tmp_path / "out", *options)


# --- tables -----------------------------------------------------------------------------------------------------------


def with_table(bertc: Bertc, place: Place, out: Path, table: Path, *options: object) -> Called:
    """Build with a table in the place of calibration text."""
    arguments = ["--calibration", table, "--validation-data", place.dev, "--max-drop", "2abs", "--no-cache"]
    return bertc("build", place.checkpoint, "-o", out, *arguments, *options)


def test_a_table_is_used_again(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    plain, again = tmp_path / "plain", tmp_path / "again"
    assert bertc(*place.build(plain), "--rounding", "nearest", "--no-bias-correction").code == 0
    assert with_table(bertc, place, again, plain / "calibration.json").code == 0
    first, second = report_of(plain), report_of(again)
    assert first["accuracy"] == second["accuracy"]
    assert (plain / "model.onnx").read_bytes() == (again / "model.onnx").read_bytes()


def test_a_table_alone_corrects_nothing(bertc: Bertc, place: Place, artefact: Path, tmp_path: Path) -> None:
    table = artefact / "calibration.json"
    assert with_table(bertc, place, tmp_path / "out", table).code == 0
    assert report_of(artefact)["quantization"]["rounding_errors"]
    assert report_of(tmp_path / "out")["quantization"]["rounding"] == "nearest"
    called = with_table(bertc, place, tmp_path / "gptq", table, "--rounding", "gptq")
    assert called.code == 2
    assert "no calibration text" in called.error


def test_a_table_of_another_checkpoint(bertc: Bertc, artefact: Path, tmp_path: Path) -> None:
    other = write_place(tmp_path, seed=1)
    called = with_table(bertc, other, tmp_path / "out", artefact / "calibration.json")
    assert called.code == 2
    assert "another checkpoint" in called.error


def test_a_table_whose_smoothing_is_another(bertc: Bertc, place: Place, artefact: Path, tmp_path: Path) -> None:
    table = artefact / "calibration.json"
    called = with_table(bertc, place, tmp_path / "out", table, "--smoothing", "0.5")
    assert called.code == 2
    assert "0.5" in called.error
    assert "0.9" in called.error
    assert with_table(bertc, place, tmp_path / "out", table, "--smoothing", "0").code == 0, "none is in every table"


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"schema": 1}', '{"schema": 99}', "\x00\x01", "[" * 10_000]
)
def test_a_file_that_is_no_table(bertc: Bertc, place: Place, tmp_path: Path, content: str) -> None:
    table = tmp_path / "table.json"
    table.write_text(content)
    called = with_table(bertc, place, tmp_path / "out", table)
    assert called.code == 2
    assert str(table) in called.error


@pytest.mark.parametrize("amax", [0, -1, "large", None, float("nan"), float("inf")])
def test_a_table_with_an_impossible_override(
    bertc: Bertc, place: Place, artefact: Path, tmp_path: Path, amax: object
) -> None:
    table = tmp_path / "table.json"
    document = json.loads((artefact / "calibration.json").read_text())
    document["overrides"]["layer.0.hidden"] = amax
    table.write_text(json.dumps(document))
    called = with_table(bertc, place, tmp_path / "out", table)
    assert called.code == 2, called.err
    assert "layer.0.hidden" in called.error


def test_a_tiny_model_is_refused_only_for_what_is_wrong(bertc: Bertc, tmp_path: Path) -> None:
    """The negative twin of this file: the same command line with nothing wrong."""
    place = write_place(tmp_path)
    assert bertc(*place.build(tmp_path / "out")).code == 0
    assert write_tiny_bert(tmp_path / "again", positions=64).is_dir()
