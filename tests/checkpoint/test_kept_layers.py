"""A checkpoint with fewer layers: which are kept, that they compute what they did, and what has none to spare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.kept_layers import checkpoint_with_layers, spaced_layers
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from tests.fixtures import tiny_sentence, write_tiny_bert, write_tiny_sentences
from tests.tiny_families import write_tiny_family

TEXTS = [tiny_sentence(seed, 3 + 2 * seed) for seed in range(4)]


@pytest.mark.parametrize("of", [1, 2, 5, 6, 12, 24])
def test_kept_layers_are_in_order_and_end_with_the_last(of: int) -> None:
    for layers in range(1, of + 1):
        kept = spaced_layers(layers, of)
        assert len(set(kept)) == layers and sorted(kept) == list(kept)
        assert kept[-1] == of - 1 and kept[0] >= 0
    assert spaced_layers(of, of) == tuple(range(of))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra", "mpnet"])
def test_what_is_written_is_transformers_model_without_a_layer(model_type: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    whole = checkpoint_from_path(write_tiny_family(tmp_path / "whole", model_type))
    student = checkpoint_with_layers(whole, 1)
    (tmp_path / "student").mkdir()
    write_checkpoint(student, tmp_path / "student", {})
    written = checkpoint_from_path(tmp_path / "student")
    assert written.architecture == student.architecture and set(written.weights) == set(student.weights)
    assert written.head == whole.head and written.parameters == student.parameters < whole.parameters
    open_model = transformers.AutoModelForSequenceClassification.from_pretrained
    models = [open_model(tmp_path / name, dtype=torch.float32).eval() for name in ("whole", "student")]
    layers = getattr(models[0].base_model, "transformer", None) or models[0].base_model.encoder
    layers.layer = layers.layer[1:]
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected, found = (model(**tokens).logits for model in models)
    assert torch.equal(expected, found)


def test_a_student_is_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    whole = checkpoint_from_path(write_tiny_bert(tmp_path, layers=4))
    students = [checkpoint_with_layers(whole, layers) for layers in (1, 2, 3)]
    assert len({whole.digest, *(student.digest for student in students)}) == 4
    (_, second, _) = students
    assert second.config["num_hidden_layers"] == second.architecture.layers == 2
    name = "encoder.layer.0.output.dense.weight"
    assert np.array_equal(second.weights.array(name), whole.weights.array("encoder.layer.1.output.dense.weight"))
    assert second.weights.stored_name(name) == "bert." + name
    assert "encoder.layer.2.output.dense.weight" not in second.weights
    with pytest.raises(InputError, match="lacks the tensor nothing"):
        second.weights.array("nothing")


@pytest.mark.parametrize("layers", [2, 3, 100])
def test_a_student_that_is_no_smaller_is_refused(layers: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has 2 layers, and a student of {layers} is no smaller"):
        checkpoint_with_layers(checkpoint_from_path(write_tiny_bert(tmp_path, layers=2)), layers)


@pytest.mark.parametrize(("model_type", "reason"), [("albert", "share their weights"), ("modernbert", "norms first")])
def test_layers_that_do_not_stand_alone_are_refused(model_type: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        checkpoint_with_layers(checkpoint_from_path(write_tiny_family(tmp_path, model_type)), 1)


def test_a_head_that_reads_all_layers_is_refused(tmp_path: Path) -> None:
    whole = checkpoint_from_path(write_tiny_sentences(tmp_path))
    assert checkpoint_with_layers(whole, 1).architecture.layers == 1
    mixed = replace(whole, head=replace(whole.head, layer_weights=(0.2, 0.3, 0.5)))
    with pytest.raises(InputError, match="are all read by its head"):
        checkpoint_with_layers(mixed, 1)
