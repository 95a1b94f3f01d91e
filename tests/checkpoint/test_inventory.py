"""Every tensor and every entry of config.json is read, refused by its name, told, or on the list of the harmless."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.inventory import HARMLESS_KEYS, HARMLESS_TENSORS, READ_KEYS, REFUSED_KEYS
from bertc.errors import InputError
from tests.fixtures import ARCHITECTURES, edit_json, write_tiny_bert
from tests.foreign import tensors_of, write_tensors
from tests.tiny_families import CONFIGS, tasks_of_family, write_tiny_family

ONE = np.ones(2, np.float32)


def add(folder: Path, name: str) -> Path:
    """Add a tensor to a checkpoint."""
    write_tensors(folder, tensors_of(folder) | {name: ONE})
    return folder


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("crf.start_transitions", r"holds crf\.start_transitions, which is of a part behind the encoder"),
        ("crf.transitions", r"holds crf\.transitions without crf\.start_transitions"),
        ("lstm.weight_ih_l0", r"holds lstm\.weight_ih_l0 without lstm\.weight_hh_l0"),
        ("bert.encoder.layer.0.output.adapters.x.adapter_down.0.weight", "is an adapter's, and bertc merges LoRA"),
        ("bert.embeddings.extra.weight", r"holds embeddings\.extra\.weight, which no part of this model reads"),
        ("bert.pooler.second.weight", r"holds pooler\.second\.weight"),
        ("classifier.out_proj.weight", r"holds classifier\.out_proj\.weight"),
    ],
)
def test_a_tensor_that_nothing_reads_is_refused_by_name(tiny: Path, name: str, told: str) -> None:
    add(tiny, name)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(tiny)


@pytest.mark.parametrize(
    "name", ["qa_outputs.weight", "loss_fct.weight", "cls.predictions.bias", "bert.embeddings.position_ids"]
)
def test_another_task_s_head_and_what_only_training_reads_is_not(tiny: Path, name: str) -> None:
    assert not checkpoint_from_path(add(tiny, name)).notes


@pytest.mark.parametrize("task", [task for task in ARCHITECTURES if task != "sequence-classification"])
def test_a_pooler_that_the_head_does_not_read(tmp_path: Path, task: str) -> None:
    folder = write_tiny_bert(tmp_path, task=task)
    before = checkpoint_from_path(folder).notes
    add(folder, "pooler.dense.extra" if task == "feature-extraction" else "bert.pooler.dense.weight")
    assert checkpoint_from_path(folder).notes == before


def test_layers_beyond_the_configured_are_told(tiny: Path) -> None:
    """transformers loads the layers that config.json counts and drops the others."""
    edit_json(tiny / "config.json", num_hidden_layers=1)
    (note,) = checkpoint_from_path(tiny).notes
    assert note.startswith("the weights of layers from 1 on were left out: config.json says 1 layers (16 tensors)")


@pytest.mark.parametrize("name", REFUSED_KEYS)
def test_an_entry_that_makes_another_model(tiny: Path, name: str) -> None:
    edit_json(tiny / "config.json", **{name: {}})
    checkpoint_from_path(tiny)
    edit_json(tiny / "config.json", **{name: {"a": 1}})
    with pytest.raises(InputError, match=rf"config\.json has the entry {name}"):
        checkpoint_from_path(tiny)


def test_an_entry_that_nobody_knows_is_told(tiny: Path) -> None:
    edit_json(tiny / "config.json", my_own=3, gradient_checkpointing=False)
    assert checkpoint_from_path(tiny).notes == ("config.json: neither bertc nor transformers' model reads my_own",)


def test_labels_with_two_numbers_are_told(tiny: Path) -> None:
    """Only one of the two is read; which is right, nobody but the user knows."""
    named = {"0": "negative", "1": "positive"}
    edit_json(tiny / "config.json", id2label=named, label2id={"negative": 1, "positive": 0})
    (note,) = checkpoint_from_path(tiny).notes
    assert note.startswith("config.json: label2id gives 'negative' the number 1, and id2label another")
    for same in (
        {"negative": 0, "positive": 1},
        {"negative": "0", "positive": "1"},
        {"LABEL_0": 0, "LABEL_1": 1},
        None,
    ):
        edit_json(tiny / "config.json", label2id=same)
        assert not checkpoint_from_path(tiny).notes


def test_the_lists_have_reasons_and_do_not_overlap() -> None:
    assert all(HARMLESS_KEYS.values())
    assert all(REFUSED_KEYS.values())
    assert all(HARMLESS_TENSORS.values())
    assert not READ_KEYS & HARMLESS_KEYS.keys()
    assert not REFUSED_KEYS.keys() & (READ_KEYS | HARMLESS_KEYS.keys())


@pytest.mark.parametrize("model_type, task", [(each, task) for each in CONFIGS for task in tasks_of_family(each)])
def test_what_transformers_saves_is_all_known(tmp_path: Path, model_type: str, task: str) -> None:
    pytest.importorskip("transformers")
    assert not checkpoint_from_path(write_tiny_family(tmp_path, model_type, task=task)).notes
