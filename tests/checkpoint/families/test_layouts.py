"""A real BERT checkpoint written as another family says the same: the families differ in names and small sums alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batch_from_features
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from tests.artefacts import Bertc
from tests.fixtures import edit_json, write_json
from tests.tiny import random_features

pytestmark = pytest.mark.shared

Tensors = dict[str, NDArray[Any]]
DISTILLED = {
    "encoder.layer.": "transformer.layer.",
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def as_roberta(tensors: Tensors, config: dict[str, Any]) -> dict[str, Any]:
    """Put two unused positions before the first, and leave one token type."""
    positions, types = "bert.embeddings.position_embeddings.weight", "bert.embeddings.token_type_embeddings.weight"
    tensors[positions] = np.concatenate([np.full_like(tensors[positions][:2], 9), tensors[positions]])
    tensors[types] = tensors[types][:1]
    rows = config["max_position_embeddings"] + 2
    return {"max_position_embeddings": rows, "type_vocab_size": 1, "pad_token_id": 1}


def as_electra(tensors: Tensors, config: dict[str, Any]) -> dict[str, Any]:
    """Change the names alone."""
    return {"embedding_size": config["hidden_size"]}


def as_distilbert(tensors: Tensors, config: dict[str, Any]) -> dict[str, Any]:
    """Add the one token type that texts without a pair have to the positions."""
    types = tensors.pop("bert.embeddings.token_type_embeddings.weight")
    tensors["bert.embeddings.position_embeddings.weight"] += types[:1]
    for name in list(tensors):
        renamed = name
        for old, new in DISTILLED.items():
            renamed = renamed.replace(old, new)
        tensors[renamed] = tensors.pop(name)
    names = {"dim": "hidden_size", "n_heads": "num_attention_heads", "n_layers": "num_hidden_layers"}
    names |= {"hidden_dim": "intermediate_size", "activation": "hidden_act"}
    return {new: config[old] for new, old in names.items()} | dict.fromkeys(names.values())


LAYOUTS: dict[str, Callable[[Tensors, dict[str, Any]], dict[str, Any]]] = {
    "roberta": as_roberta,
    "electra": as_electra,
    "distilbert": as_distilbert,
}


def write_as(family: str, source: Path, path: Path) -> Path:
    """Write a tagger that is BERT's as another family's."""
    shutil.copytree(source, path)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    tensors = {name: values.astype(np.float32) for name, values in load_file(path / "model.safetensors").items()}
    changes = LAYOUTS[family](tensors, config)
    save_file(
        {name.replace("bert.", f"{family}.", 1): values for name, values in tensors.items()}, path / "model.safetensors"
    )
    write_json(path / "config.json", {name: value for name, value in (config | changes).items() if value is not None})
    edit_json(path / "config.json", model_type=family, architectures=["AnyForTokenClassification"])
    return path


@pytest.fixture(scope="module")
def build(shared_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Bertc], dict[str, Any]]:
    """Give a function that builds the tagger as a family's, once, and returns its report's accuracy."""
    folder = tmp_path_factory.mktemp("layouts")
    source, data = shared_path / "models/minilm-wnut17", shared_path / "data/wnut17"
    done: dict[str, dict[str, Any]] = {}

    def of(family: str, bertc: Bertc) -> dict[str, Any]:
        if family not in done:
            checkpoint = source if family == "bert" else write_as(family, source, folder / family)
            out = folder / f"{family}-out"
            texts = ("--calibration-data", data / "wnut17train.conll", "--calibration-samples", 64)
            quick = ("--rounding", "nearest", "--max-drop", "0.05abs", "--no-cache", "-q")
            called = bertc(
                "build", checkpoint, "-o", out, *texts, "--validation-data", data / "emerging.dev.conll", *quick
            )
            assert called.code == 0, called.err
            done[family] = json.loads((out / "report.json").read_text(encoding="utf-8"))["accuracy"]
        return done[family]

    return of


@pytest.mark.parametrize("family", LAYOUTS)
def test_a_real_tagger_is_as_accurate_in_int8_as_it_was_as_bert(
    family: str, build: Callable[[str, Bertc], dict[str, Any]], bertc: Bertc
) -> None:
    bert, found = build("bert", bertc), build(family, bertc)
    assert found["samples"] == 1009 and found["reference"] > 0.4
    assert found["reference"] == pytest.approx(bert["reference"], abs=1e-3)
    assert found["engine"] == pytest.approx(bert["engine"], abs=0.01)
    assert found["logit_mse"] == pytest.approx(bert["logit_mse"], rel=0.2)


def test_positions_that_begin_elsewhere_are_another_model(shared_path: Path, tmp_path: Path) -> None:
    """The negative twin: RoBERTa's positions, read one row too early."""
    source = shared_path / "models/minilm-wnut17"
    features = [replace(each, token_type_ids=each.token_type_ids * 0) for each in random_features(6)]
    batch = batch_from_features(features, range(6))
    path = write_as("roberta", source, tmp_path / "roberta")

    def logits(folder: Path) -> NDArray[Any]:
        return Interpreter(graph_from_checkpoint(checkpoint_from_path(folder))).run(batch)["logits"]

    exact, same = logits(source), logits(path)
    edit_json(path / "config.json", pad_token_id=0)
    mask = batch.mask.astype(bool)
    assert np.abs(exact - same)[mask].max() < 1e-3
    assert np.abs(exact - logits(path))[mask].max() > 0.1
