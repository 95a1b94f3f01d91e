"""A changed checkpoint: what was changed is, what was not stays, and other tools open it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint, parameters_from_checkpoint
from bertc.ir.emit import array_of
from tests.fixtures import write_tiny_bert, write_tiny_sentences

NAME = "encoder.layer.0.output.dense.weight"


def test_what_is_changed_is_written_and_the_rest_stays(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model", dtype="float16"))
    values = checkpoint.weights.array(NAME) + 1
    write_checkpoint(checkpoint, tmp_path / "out", {NAME: values})
    written = checkpoint_from_path(tmp_path / "out")
    assert np.array_equal(written.weights.array(NAME), values)
    others = [name for name in checkpoint.weights if name != NAME]
    assert list(written.weights) and set(written.weights) == set(checkpoint.weights)
    assert all(np.array_equal(written.weights.array(name), checkpoint.weights.array(name)) for name in others)
    assert written.head == checkpoint.head and written.digest != checkpoint.digest


def test_a_transposed_array_is_written_as_it_is_read(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model"))
    values = np.asfortranarray(checkpoint.weights.array(NAME) + np.float32(1))
    assert not values.flags.c_contiguous
    write_checkpoint(checkpoint, tmp_path / "out", {NAME: values})
    found = checkpoint_from_path(tmp_path / "out").weights.array(NAME)
    assert np.array_equal(found, values) and not np.array_equal(found, checkpoint.weights.array(NAME))


def test_transformers_opens_it_with_the_changed_weight(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model"))
    values = checkpoint.weights.array(NAME) + 1
    write_checkpoint(checkpoint, tmp_path / "out", {NAME: values})
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert np.array_equal(model.bert.get_parameter(NAME).detach().numpy(), values)


def test_sentence_transformers_folders_keep_their_modules(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_sentences(tmp_path / "model"))
    write_checkpoint(checkpoint, tmp_path / "out", {})
    written = checkpoint_from_path(tmp_path / "out")
    assert (written.head.pooling, written.head.normalize) == (checkpoint.head.pooling, checkpoint.head.normalize)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({NAME: np.zeros((2, 2), np.float32)}, "shape"),
        ({NAME: np.full((32, 64), np.nan, np.float32)}, "finite"),
        ({"encoder.layer.9.dense.weight": np.zeros(2, np.float32)}, "no tensor"),
    ],
)
def test_wrong_values_are_refused_and_nothing_is_written(
    tmp_path: Path, changed: dict[str, np.ndarray], says: str
) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model"))
    with pytest.raises(InputError, match=says):
        write_checkpoint(checkpoint, tmp_path / "out", changed)
    assert not (tmp_path / "out").exists()


def test_every_weight_of_the_graph_knows_its_tensor(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path / "model", dtype="float32"))
    initializers = graph_from_checkpoint(checkpoint).graph.initializers
    parameters = parameters_from_checkpoint(checkpoint)
    assert {name for parameter in parameters.values() for name in parameter.names} == set(checkpoint.weights)
    for name, parameter in parameters.items():
        for tensor, array in parameter.tensors(array_of(initializers[name])).items():
            assert np.array_equal(array, checkpoint.weights.array(tensor))
