"""DeBERTa's kinds of relative positions, each as transformers computes it, and what is another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.families import deberta_v2
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import values_by_name
from tests.artefacts import Bertc
from tests.checkpoint.families.test_transformers import TOLERANCE, largest_difference, theirs
from tests.contracts.test_families import CONFIGS
from tests.fixtures import edit_json
from tests.foreign import tensors_of, write_tensors
from tests.tiny import TinyModel, calibrated, quantized, random_features, tiny_scheme
from tests.tiny_families import write_tiny_family

TASK = "token-classification"
KINDS: dict[str, dict[str, Any]] = {
    "bars in the place of a list": {"pos_att_type": "C2P | p2c"},
    "content to position alone": {"pos_att_type": ["c2p"]},
    "position to content alone": {"pos_att_type": ["p2c"]},
    "projections of their own": {"share_att_key": False},
    "a row for each distance": {"position_buckets": -1, "max_relative_positions": 12},
    "an odd number of buckets": {"position_buckets": 7},
    "embeddings as they are": {"norm_rel_ebd": "none"},
    "positions and token types": {"position_biased_input": True, "type_vocab_size": 2},
    "products without positions": {"pos_att_type": None},
    "no relative positions": {"relative_attention": False, "position_biased_input": True},
    "another pooler": {"pooler_hidden_act": "tanh"},
}


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS)
def test_every_kind_equals_transformers(change: dict[str, Any], tmp_path: Path) -> None:
    task = "sequence-classification" if "pooler_hidden_act" in change else TASK
    folder = write_tiny_family(tmp_path, "deberta-v2", task=task, **change)
    assert largest_difference(folder, task) < TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"pos_att_type": "c2p"},
        {"norm_rel_ebd": "none"},
        {"max_relative_positions": 20},
    ],
)
def test_another_kind_is_seen(change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_family(tmp_path, "deberta-v2", task=TASK)
    known = theirs(folder, TASK)
    monkeypatch.setattr("tests.checkpoint.families.test_transformers.theirs", lambda folder, task: known)
    edit_json(folder / "config.json", **change)
    if change.get("norm_rel_ebd"):
        write_tensors(
            folder, {name: array for name, array in tensors_of(folder).items() if "encoder.LayerN" not in name}
        )
    assert largest_difference(folder, TASK) > 10 * TOLERANCE


@pytest.mark.parametrize(
    "change, message",
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size is 3, .* DeBERTa-v2-xlarge has; take a model without"),
        ({"embedding_size": 16}, "embedding_size 16 is not hidden_size 48"),
        ({"pooler_hidden_size": 16}, "pooler_hidden_size 16 is not hidden_size 48"),
        ({"attention_head_size": 16}, "attention_head_size 16 times 4 heads is not hidden_size 48"),
        ({"pooler_hidden_act": "mish"}, "pooler_hidden_act 'mish' is not supported; supported are gelu"),
        ({"position_buckets": 3}, "position_buckets 3 with max_relative_positions 50"),
        ({"position_buckets": 64, "max_relative_positions": 32}, "position_buckets 64 with max_relative_positions 32"),
        ({"pos_att_type": ["c2p", 1]}, "pos_att_type must be names between bars or a list of names"),
        ({"type_vocab_size": -1}, "type_vocab_size"),
    ],
)
def test_another_model_is_refused_by_its_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        deberta_v2.architecture_from_config(CONFIGS["deberta-v2"] | change)
    assert "\n" not in str(caught.value)


def test_a_position_table_that_nothing_reads_is_left_out_and_one_that_is_read_is_not(tmp_path: Path) -> None:
    """Microsoft's files hold it although the model is without; transformers leaves it out as well."""
    folder = write_tiny_family(tmp_path, "deberta-v2")
    name = "deberta.embeddings.position_embeddings.weight"
    write_tensors(folder, tensors_of(folder) | {name: np.ones((128, 64), np.float32)})
    assert checkpoint_from_path(folder).architecture.position_embeddings is None
    edit_json(folder / "config.json", position_biased_input=True)
    found = checkpoint_from_path(folder).architecture
    assert f"deberta.{found.position_embeddings}" == name and not found.unread


def test_heads_of_pre_training_are_left_out_and_other_tensors_are_not(tmp_path: Path) -> None:
    folder = write_tiny_family(tmp_path, "deberta-v2")
    head = {
        "lm_predictions.lm_head.bias": np.ones(2, np.float32),
        "mask_predictions.dense.bias": np.ones(2, np.float32),
    }
    write_tensors(folder, tensors_of(folder) | head)
    assert not checkpoint_from_path(folder).notes
    write_tensors(folder, tensors_of(folder) | {"deberta.encoder.conv.conv.bias": np.ones(2, np.float32)})
    with pytest.raises(InputError, match=r"encoder\.conv\.conv\.bias, which no part of this model reads"):
        checkpoint_from_path(folder)


@pytest.mark.parametrize("target", ["ort-cpu", pytest.param("openvino", marks=pytest.mark.openvino)])
def test_a_build_answers(target: str, bertc: Bertc, rows: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "out", write_tiny_family(tmp_path / "model", "deberta-v2")
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", folder, "-o", out, "--target", target, *options)
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["checkpoint"]["family"] == "deberta-v2"
    assert report["quantization"]["gemms_int8"] == 12 + (4 if target == "openvino" else 0)  # attention's products too
    assert report["accuracy"]["agreement"] > 0.9
    assert bertc("predict", out, "--text", "good film").code == 0


def test_training_says_that_it_does_not(tmp_path: Path, bertc: Bertc, rows: Path) -> None:
    folder = write_tiny_family(tmp_path / "model", "deberta-v2")
    called = bertc("finetune", folder, "-o", tmp_path / "trained", "--train-data", rows, "-q")
    assert called.code == 2 and "embeddings of distances (DeBERTa, XLNet); fine-tune it with transformers" in called.err


def test_products_with_positions_read_what_is_not_quantized(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path, "deberta-v2"))
    graph, features = graph_from_checkpoint(checkpoint), random_features(8)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=features, table=calibrated(graph, features))
    values = values_by_name(quantized(model, tiny_scheme("2")).graph)
    for name, operand in (("content_to_position", "query"), ("position_to_content", "key")):
        node = values[f"layer.0.{name}_tokens"].producer()
        assert node is not None and node.inputs[0] is values[f"layer.0.{operand}"]
    attention = values["layer.0.context"].producer()
    assert attention is not None and attention.inputs[0] is values["layer.0.query.dequantized"]
