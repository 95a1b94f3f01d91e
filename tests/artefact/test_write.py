"""The files of an artefact: what other tools read in it, and what must not travel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertc.artefact.layout import HEAD_FILE, MODULES_FILE, ROWS_FILE, SENTENCE_FILE
from bertc.artefact.manifest import read_manifest, verify_artefact
from bertc.artefact.write import write_artefact
from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.files import read_object
from bertc.errors import InputError
from bertc.jobs.inspect import kind_of_path
from bertc.jobs.predict import head_from_document
from bertc.recipe import recipe_from_path
from bertc.report.parts.built import report_from_facts
from bertc.report.parts.facts import BuildFacts
from tests.fixtures import (
    edit_json,
    write_json,
    write_safetensors,
    write_tiny_bert,
    write_tiny_pylate,
    write_tiny_sentences,
)
from tests.report.sample_facts import facts_of
from tests.tiny import TinyModel, engine_scheme, tiny_scheme


@pytest.fixture
def facts(tiny_classifier: TinyModel) -> BuildFacts:
    """An unvalidated build in mode 1."""
    return facts_of(tiny_classifier, engine_scheme(tiny_scheme("1")), calibration={"data": "train.tsv"})


def written(folder: Path, facts: BuildFacts) -> set[str]:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"model")
    write_artefact(folder, facts, report_from_facts(facts, rows=ROWS_FILE))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_whole_and_its_manifest_agrees(facts: BuildFacts, tmp_path: Path) -> None:
    names = written(tmp_path / "out", facts)
    assert {"config.json", HEAD_FILE, "tokenizer.json", "calibration.json", "recipe.toml", "report.html"} <= names
    manifest = verify_artefact(tmp_path / "out")
    assert set(manifest.files) == names - {"manifest.json"}
    assert manifest.unvalidated is True
    assert manifest.checkpoint == facts.checkpoint.digest
    assert set(manifest.valid_on.cpu_features_any) == set(facts.target.demands)
    assert recipe_from_path(tmp_path / "out" / "recipe.toml", {}) == facts.recipe


def test_the_head_file_says_what_the_engine_answers(facts: BuildFacts, tmp_path: Path) -> None:
    written(tmp_path / "out", facts)
    document = json.loads((tmp_path / "out" / HEAD_FILE).read_text(encoding="utf-8"))
    assert document["schema"] == 1
    assert document["max_length"] == facts.max_length
    assert document["head"]["labels"] == ["negative", "positive"]


def test_code_and_paths_of_the_build_machine_stay_behind(facts: BuildFacts, tmp_path: Path) -> None:
    config = {**facts.checkpoint.config, "auto_map": {"AutoModel": "code.Model"}, "_name_or_path": "/home/someone"}
    spoilt = replace(facts, checkpoint=replace(facts.checkpoint, config=config))
    written(tmp_path / "out", spoilt)
    found = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert found == {name: value for name, value in facts.checkpoint.config.items() if name != "_name_or_path"}


def test_a_classifier_takes_no_files_of_sentence_transformers(facts: BuildFacts, tmp_path: Path) -> None:
    assert not {SENTENCE_FILE, MODULES_FILE} & written(tmp_path / "out", facts)


def test_an_embedder_keeps_the_files_of_sentence_transformers(
    tiny_classifier: TinyModel, facts: BuildFacts, tmp_path: Path
) -> None:
    source = write_tiny_sentences(tmp_path / "model")
    edit_json(source / "1_Pooling" / "config.json", word_embedding_dimension=64)
    names = written(tmp_path / "out", replace(facts, checkpoint=checkpoint_from_path(source)))
    assert {"modules.json", "sentence_bert_config.json", "1_Pooling/config.json"} <= names
    for name in ("modules.json", "1_Pooling/config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert {"modules.json", "1_Pooling/config.json"} <= set(read_manifest(tmp_path / "out").files)


def test_layers_and_settings_of_other_tools_travel_as_they_are(facts: BuildFacts, tmp_path: Path) -> None:
    sources = {
        "dense": (write_tiny_sentences(tmp_path / "a", modules=("Transformer", "Pooling", "Dense")), "2_Dense"),
        "pylate": (write_tiny_pylate(tmp_path / "b"), "1_Dense"),
    }
    for name, (source, folder) in sources.items():
        names = written(tmp_path / name, replace(facts, checkpoint=checkpoint_from_path(source)))
        for file in (f"{folder}/model.safetensors", f"{folder}/config.json", "modules.json"):
            assert file in names and (tmp_path / name / file).read_bytes() == (source / file).read_bytes()
    source = write_tiny_bert(tmp_path / "c", task="late-interaction")
    written(tmp_path / "stanford", replace(facts, checkpoint=checkpoint_from_path(source)))
    document = read_object(tmp_path / "stanford" / "artifact.metadata")
    assert document == read_object(source / "artifact.metadata")
    head = checkpoint_from_path(source).head
    described = read_object(tmp_path / "stanford" / HEAD_FILE)["head"]
    assert head_from_document(described, tmp_path) == head
    del described["interaction"]["filler"]
    with pytest.raises(InputError, match=r"bertc\.json describes no head; build the artefact again"):
        head_from_document(described, tmp_path)


@pytest.mark.parametrize("encoder", ["", "0_Transformer"])
def test_every_folder_that_the_modules_name_is_there(facts: BuildFacts, encoder: str, tmp_path: Path) -> None:
    """The encoder's own folder becomes the artefact's root, where its model lies."""
    source = write_tiny_sentences(tmp_path / "model", modules=("Transformer", "WeightedLayerPooling", "Pooling"))
    mix = source / "1_WeightedLayerPooling"
    write_json(mix / "config.json", {"layer_start": 1, "num_hidden_layers": 2})
    write_safetensors(mix / "model.safetensors", {"layer_weights": np.array([1, 3], np.float32)})
    if encoder:
        (source / encoder).mkdir()
        for file in [file for file in source.iterdir() if file.is_file() and file.name != "modules.json"]:
            file.rename(source / encoder / file.name)
        modules = json.loads((source / "modules.json").read_text(encoding="utf-8"))
        modules[0]["path"] = encoder
        write_json(source / "modules.json", modules)
    names = written(tmp_path / "out", replace(facts, checkpoint=checkpoint_from_path(source)))
    assert {"2_Pooling/config.json", "sentence_bert_config.json"} <= names
    kinds = [module["type"] for module in json.loads((tmp_path / "out" / "modules.json").read_text(encoding="utf-8"))]
    assert [kind.rpartition(".")[2] for kind in kinds] == ["Transformer", "Pooling"]  # the engine has the mix
    assert not any("WeightedLayerPooling" in name for name in names)
    for module in json.loads((tmp_path / "out" / "modules.json").read_text(encoding="utf-8")):
        assert (tmp_path / "out" / module["path"] / "config.json").is_file()
    assert kind_of_path(str(tmp_path / "out")) == "artefact"
    assert kind_of_path(str(source)) == "checkpoint"


def test_without_a_table_there_is_no_calibration_file(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    names = written(tmp_path / "out", facts_of(tiny_classifier, None, engine={"target": "float"}))
    assert "calibration.json" not in names
