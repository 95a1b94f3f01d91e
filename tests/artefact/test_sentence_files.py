"""The files by which sentence-transformers opens an artefact: what they say, and for which heads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertc.artefact.sentence_files import write_sentence_files
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.sentence_modules import sentence_modules_from_path
from bertc.core.head import Pooling
from bertc.runtime.openvino.compiled_model import OpenvinoRuntime
from bertc.targets import target_from_name
from tests.fixtures import edit_json, write_json, write_tiny_bert, write_tiny_sentences


def written(folder: Path, checkpoint: Checkpoint, **settings: Any) -> dict[str, Any]:
    """Return the files that were written, by name, each as its JSON."""
    folder.mkdir()
    write_sentence_files(folder, checkpoint, max_length=48, settings=settings)
    paths = [path for path in folder.rglob("*") if path.suffix == ".json"]
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding="utf-8")) for path in paths}


def test_a_bare_encoder_gets_the_modules_that_its_head_means(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model", task="feature-extraction"))
    files = written(tmp_path / "out", checkpoint)
    assert [module["type"] for module in files["modules.json"]] == [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Pooling",
    ]
    assert [module["path"] for module in files["modules.json"]] == ["", "1_Pooling"]
    assert files["1_Pooling/config.json"] == {
        "word_embedding_dimension": 64,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
    }
    assert files["sentence_bert_config.json"] == {"max_seq_length": 48}


@pytest.mark.parametrize("pooling", [Pooling.CLS, Pooling.MEAN, Pooling.MAX])
@pytest.mark.parametrize("normalize", [False, True])
def test_what_is_written_is_what_is_read(pooling: Pooling, normalize: bool, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model", task="feature-extraction"))
    head = replace(checkpoint.head, pooling=pooling, normalize=normalize)
    written(tmp_path / "out", replace(checkpoint, head=head))
    modules = sentence_modules_from_path(tmp_path / "out")
    assert modules is not None
    assert (modules.pooling, modules.normalize, modules.folder) == (pooling, normalize, tmp_path / "out")


def test_the_length_is_the_engines_and_settings_of_torch_stay_behind(tmp_path: Path) -> None:
    source = write_tiny_sentences(tmp_path / "model")
    edit_json(source / "sentence_bert_config.json", model_args={"attn_implementation": "sdpa"}, unpad_inputs=False)
    files = written(tmp_path / "out", checkpoint_from_path(source))
    assert files["sentence_bert_config.json"] == {"max_seq_length": 48, "do_lower_case": False, "unpad_inputs": False}


def test_openvino_is_opened_in_the_precision_and_the_lengths_that_were_validated(tmp_path: Path) -> None:
    settings = target_from_name("openvino").runtime.sentence_settings
    files = written(tmp_path / "out", checkpoint_from_path(write_tiny_sentences(tmp_path / "model")), **settings)
    found = files["sentence_bert_config.json"]
    assert found["model_args"]["ov_config"] == {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    assert found["processing_kwargs"] == {"text": {"pad_to_multiple_of": 16}}
    half = OpenvinoRuntime(precision="bf16").sentence_settings
    assert half["model_args"]["ov_config"]["INFERENCE_PRECISION_HINT"] == "bf16"
    assert target_from_name("ort-cpu").runtime.sentence_settings == {}


def test_modules_that_describe_another_head_are_not_copied(tmp_path: Path) -> None:
    """A model of sparse vectors that was built for dense ones: the engine's vectors are the tokens' mean."""
    source = write_tiny_bert(tmp_path / "model", task="sparse-embedding")
    kinds = {"": "MLMTransformer", "1": "SpladePooling"}
    entries = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    write_json(source / "modules.json", entries)
    (source / "1").mkdir()
    write_json(source / "1" / "config.json", {"pooling_strategy": "max"})
    sparse = written(tmp_path / "sparse", checkpoint_from_path(source))
    assert [module["type"] for module in sparse["modules.json"]] == [entry["type"] for entry in entries]
    dense = written(tmp_path / "dense", checkpoint_from_path(source, task="feature-extraction"))
    assert [module["path"] for module in dense["modules.json"]] == ["", "1_Pooling"]


def test_classes_have_the_names_that_every_version_finds(tmp_path: Path) -> None:
    source = write_tiny_sentences(tmp_path / "model")
    newer = ("base.modules.transformer.Transformer", "sentence_transformer.modules.pooling.Pooling")
    modules = json.loads((source / "modules.json").read_text(encoding="utf-8"))
    for module, name in zip(modules, newer, strict=False):
        module["type"] = f"sentence_transformers.{name}"
    write_json(source / "modules.json", modules)
    files = written(tmp_path / "out", checkpoint_from_path(source))
    kinds = ("Transformer", "Pooling", "Normalize")
    assert [module["type"] for module in files["modules.json"]] == [f"sentence_transformers.models.{k}" for k in kinds]
