"""Heads of keys and values that several heads of queries share: repeated where they are read, stored once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.emit import array_of
from tests.artefacts import Bertc
from tests.foreign import tensors_of, write_tensors
from tests.tiny_families import write_tiny_family

KEY = "layers.1.self_attn.k_proj.weight"
BIAS = "layers.1.self_attn.v_proj.bias"
STORED = f"model.{KEY}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four heads of queries and two of keys and values, each of 16 channels."""
    shared = {"num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": True}
    return write_tiny_family(tmp_path / "checkpoint", "eurobert", **shared)


def test_each_head_stands_there_for_every_head_of_queries(folder: Path) -> None:
    checkpoint, stored = checkpoint_from_path(folder), tensors_of(folder)
    weights = checkpoint.weights
    assert stored[STORED].shape == (32, 64) and weights.shape(KEY) == (64, 64) and weights.shape(BIAS) == (64,)
    heads = weights.array(KEY).reshape(4, 16, 64)
    np.testing.assert_array_equal(heads[[0, 2]], stored[STORED].reshape(2, 16, 64))
    np.testing.assert_array_equal(heads[[1, 3]], heads[[0, 2]])
    np.testing.assert_array_equal(weights.array(BIAS).reshape(2, 2, 16)[:, 1], stored[f"model.{BIAS}"].reshape(2, 16))
    query = KEY.replace("k_proj", "q_proj")
    np.testing.assert_array_equal(weights.array(query), stored[f"model.{query}"])
    assert weights.stored_name(KEY) == STORED and set(weights) >= {KEY, BIAS}
    assert checkpoint.parameters == sum(array.size for array in stored.values())
    graph = graph_from_checkpoint(checkpoint)
    np.testing.assert_array_equal(array_of(graph.graph.initializers["layer.1.key_gemm.weight"]), weights.array(KEY).T)


def test_what_is_written_back_has_them_once(folder: Path, tmp_path: Path) -> None:
    checkpoint, before = checkpoint_from_path(folder), tensors_of(folder)
    (tmp_path / "copy").mkdir()
    write_checkpoint(checkpoint, tmp_path / "copy", {KEY: 2 * checkpoint.weights.array(KEY)})
    after = tensors_of(tmp_path / "copy")
    assert after.keys() == before.keys()
    np.testing.assert_array_equal(after.pop(STORED), 2 * before[STORED])
    assert all(np.array_equal(array, before[name]) for name, array in after.items())


def test_copies_that_were_changed_apart_are_not_written(folder: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(folder)
    (tmp_path / "copy").mkdir()
    changed = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    with pytest.raises(AssertionError, match="changed apart"):
        write_checkpoint(checkpoint, tmp_path / "copy", {KEY: changed})


def test_rows_of_other_heads_are_refused(folder: Path) -> None:
    tensors = tensors_of(folder)
    write_tensors(folder, tensors | {STORED: tensors[STORED][:-16]})
    with pytest.raises(InputError, match=rf"{KEY} has 16 rows where config.json implies 32, of 2 heads"):
        checkpoint_from_path(folder)


@pytest.mark.parametrize("criterion", ["magnitude", "wanda", "sparsegpt"])
def test_a_pruned_one_has_them_once(criterion: str, folder: Path, tmp_path: Path, bertc: Bertc, rows: Path) -> None:
    data = () if criterion == "magnitude" else ("--calibration-data", rows)
    called = bertc(
        "prune", folder, "-o", tmp_path / "pruned", "--sparsity-criterion", criterion, *data, "--no-cache", "-q"
    )
    assert called.code == 0, called.err
    before, after = tensors_of(folder), tensors_of(tmp_path / "pruned")
    assert {name: array.shape for name, array in before.items()} == {n: array.shape for n, array in after.items()}
    assert (np.count_nonzero(after[STORED].reshape(32, 16, 4), axis=2) <= 2).all()


def test_training_is_refused(folder: Path, tmp_path: Path, bertc: Bertc, rows: Path) -> None:
    called = bertc("finetune", folder, "-o", tmp_path / "out", "--train-data", rows, "-q")
    assert called.code == 2 and "does not train models whose heads share keys and values" in called.err


@pytest.mark.parametrize("mode", ["1", "2"])
@pytest.mark.parametrize("target", ["ort-cpu", "openvino", pytest.param("native", marks=pytest.mark.native)])
def test_an_int8_engine_answers_as_the_float_model(
    target: str, mode: str, folder: Path, tmp_path: Path, bertc: Bertc, rows: Path
) -> None:
    out = tmp_path / "out"
    called = bertc(
        *("build", folder, "-o", out, "--target", target, "--int8-mode", mode, "--granularity", "channel"),
        *("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs"),
        *("--any-reference", "--no-cache", "-q"),
    )
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["quantization"]["gemms_int8"] >= 12
    assert report["accuracy"]["logit_mse"] < 1e-3
