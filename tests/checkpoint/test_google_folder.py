"""Folders of Google's BERT: the same model as in transformers' layout, and what its files do not say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bertc.artefact.kinds import name_of_thing
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.google_folder import lower_case_from_vocabulary
from bertc.checkpoint.kept_layers import checkpoint_with_layers
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from bertc.ir.architecture import Activation
from tests.artefacts import Bertc
from tests.checkpoint.tensorflow_writer import googled
from tests.fixtures import edit_json, tiny_vocab, write_tiny_bert

TASK = "sequence-classification"
TEXT = "The GOOD movie, Ünïcode"


def opened(folder: Path) -> Checkpoint:
    """Read a folder as a classifier of texts: Google's names do not say whether it is one of tokens."""
    return checkpoint_from_path(folder, task=TASK)


def ids(checkpoint: Checkpoint) -> list[int]:
    """Return the tokens of a text in both cases."""
    (encoded,) = checkpoint.encoder.encode_batch([TEXT])
    return list(encoded.ids)


@pytest.fixture
def google(tmp_path: Path) -> Path:
    """A tiny classifier in Google's layout, with an optimizer's slots."""
    return googled(write_tiny_bert(tmp_path / "google", dtype="float32"))


@pytest.mark.parametrize("shards", [1, 3])
def test_it_is_the_model_that_transformers_has(tmp_path: Path, shards: int) -> None:
    config = {"hidden_act": "gelu_new", "id2label": None, "label2id": None}
    plain = opened(write_tiny_bert(tmp_path / "plain", dtype="float32", config=config))
    ours = opened(googled(write_tiny_bert(tmp_path / "google", dtype="float32"), shards=shards))
    assert ours.architecture == plain.architecture and ours.family == "bert"
    assert ours.head == plain.head and ours.head.task == "sequence-classification"
    assert ours.parameters == plain.parameters
    assert ours.ignored_bytes == 2 * 4 * plain.parameters + 8  # two slots for each weight, and the step
    assert set(ours.weights) == set(plain.weights)
    for name in plain.weights:
        assert np.array_equal(ours.weights.array(name), plain.weights.array(name))
        assert ours.weights.shape(name) == plain.weights.shape(name)
    assert ids(ours) == ids(plain)
    assert {path.name for path in (*ours.files, *ours.weights.files)} == {
        *("bert_config.json", "vocab.txt", "bert_model.ckpt.index"),
        *(f"bert_model.ckpt.data-{shard:05d}-of-{shards:05d}" for shard in range(shards)),
    }


def test_the_digest_is_of_every_file_that_is_read(google: Path) -> None:
    digests = {opened(google).digest}
    edit_json(google / "bert_config.json", layer_norm_eps=1e-6)
    digests.add(opened(google).digest)
    data = google / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"\x7f")
    digests.add(opened(google).digest)
    (google / "bert_model.ckpt.meta").unlink()
    digests.add(opened(google).digest)
    assert len(digests) == 3


def test_google_s_gelu_is_the_one_with_tanh_and_that_is_told(google: Path) -> None:
    checkpoint = opened(google)
    assert checkpoint.architecture.activation == Activation.GELU_TANH
    assert "the gelu of bert_config.json is Google's, which is the approximation with tanh" in checkpoint.notes
    edit_json(google / "bert_config.json", hidden_act="relu")
    checkpoint = opened(google)
    assert checkpoint.architecture.activation == Activation.RELU
    assert not any("gelu" in note for note in checkpoint.notes)


def test_the_case_of_text_is_the_vocabulary_s(tmp_path: Path) -> None:
    words = (*tiny_vocab(), "[unused1]", "The")
    lower = googled(write_tiny_bert(tmp_path / "lower", vocab=words[:-1]))
    cased = googled(write_tiny_bert(tmp_path / "cased", vocab=words))
    assert (lower_case_from_vocabulary(lower), lower_case_from_vocabulary(cased)) == (True, False)
    first, second = (opened(folder) for folder in (lower, cased))
    assert any("no capital letters, so texts become lower case" in note for note in first.notes)
    assert any("has capital letters, so texts keep them" in note for note in second.notes)
    the, other = (checkpoint.encoder.encode_batch(["The"])[0].ids[1] for checkpoint in (first, second))
    assert (the, other) == (words.index("the"), words.index("The"))


def test_a_tokenizer_s_own_files_decide_the_case(google: Path) -> None:
    (google / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    checkpoint = opened(google)
    assert not any("letters" in note for note in checkpoint.notes)
    assert checkpoint.encoder.encode_batch(["The"])[0].ids[1] == checkpoint.encoder.unknown_id


def test_texts_or_tokens_is_asked_for_and_not_guessed(google: Path) -> None:
    with pytest.raises(InputError, match="choose the task sequence-classification or text-ranking or tok"):
        checkpoint_from_path(google)
    assert checkpoint_from_path(google, task="token-classification").head.task == "token-classification"
    edit_json(google / "bert_config.json", architectures=["BertForSequenceClassification"])
    assert checkpoint_from_path(google).head.task == TASK


def test_labels_may_be_added(google: Path) -> None:
    assert opened(google).head.labels == ("LABEL_0", "LABEL_1")
    edit_json(google / "bert_config.json", id2label={"0": "negative", "1": "positive"})
    assert opened(google).head.labels == ("negative", "positive")


def test_transformers_files_go_before(tmp_path: Path) -> None:
    plain = write_tiny_bert(tmp_path / "plain")
    google = googled(write_tiny_bert(tmp_path / "google", seed=1))
    digest = opened(plain).digest
    for file in google.glob("bert_*"):
        shutil.copy(file, plain)
    assert opened(plain).digest == digest and not opened(plain).notes


def test_weights_without_their_configuration(google: Path) -> None:
    (google / "bert_config.json").unlink()
    with pytest.raises(InputError, match=r"holds no config\.json; copy bert_config\.json and vocab\.txt of the model"):
        opened(google)


def test_a_configuration_without_weights(google: Path) -> None:
    (google / "bert_model.ckpt.index").unlink()
    with pytest.raises(InputError, match=r"TensorFlow's bert_model\.ckpt\.index"):
        opened(google)


def test_a_missing_file_of_bytes(google: Path) -> None:
    (google / "bert_model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(InputError, match=r"names bert_model\.ckpt\.data-00000-of-00001, which is missing"):
        opened(google)


def rename(folder: Path, stem: str) -> None:
    for file in folder.glob("bert_model.ckpt.*"):
        shutil.copy(file, folder / file.name.replace("bert_model.ckpt", stem))


def test_of_several_checkpoints_tensorflow_s_file_names_one(google: Path) -> None:
    for step in (9, 10):
        rename(google, f"model.ckpt-{step}")
    for file in google.glob("bert_model.ckpt.*"):
        file.unlink()
    with pytest.raises(InputError, match=r"holds 2 checkpoints of TensorFlow \(model\.ckpt-10\.index, model\.ckpt-9"):
        opened(google)
    state = google / "checkpoint"
    state.write_text(
        'model_checkpoint_path: "/their/machine/model.ckpt-10"\nall_model_checkpoint_paths: "model.ckpt-9"'
    )
    assert opened(google).weights.files[0].name == "model.ckpt-10.index"
    state.write_text('model_checkpoint_path: "model.ckpt-11"\n')
    with pytest.raises(InputError, match="no file 'checkpoint' that names one of them"):
        opened(google)


def test_a_changed_copy_is_transformers(google: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    checkpoint = opened(google)
    name = "encoder.layer.0.output.dense.weight"
    values = checkpoint.weights.array(name) + 1
    write_checkpoint(checkpoint, tmp_path / "out", {name: values})
    written = opened(tmp_path / "out")
    assert written.architecture == checkpoint.architecture and not written.notes
    assert ids(written) == ids(checkpoint)
    assert np.array_equal(written.weights.array(name), values)
    model = transformers.AutoModel.from_pretrained(tmp_path / "out")
    assert np.array_equal(model.get_parameter(name).detach().numpy(), values)
    norm = "encoder.layer.1.output.LayerNorm.weight"
    assert np.array_equal(model.get_parameter(norm).detach().numpy(), checkpoint.weights.array(norm))
    assert model.config.hidden_act == "gelu_new"


def test_a_student_of_it_is_transformers(google: Path, tmp_path: Path) -> None:
    whole = opened(google)
    write_checkpoint(checkpoint_with_layers(whole, 1), tmp_path / "student", {})
    written = opened(tmp_path / "student")
    assert written.architecture.layers == written.config["num_hidden_layers"] == 1
    assert ids(written) == ids(whole)
    name = "encoder.layer.{}.output.dense.weight"
    assert np.array_equal(written.weights.array(name.format(0)), whole.weights.array(name.format(1)))


def test_commands_take_it_like_any_other(google: Path, tmp_path: Path, bertc: Bertc) -> None:
    facts = bertc("inspect", google, "--task", TASK, "--json").json
    assert (facts["activation"], facts["ignored_bytes"]) == ("gelu_tanh", opened(google).ignored_bytes)
    out = tmp_path / "out"
    options = ("--task", TASK, "--target", "float", "--unvalidated", "--no-cache", "-q")
    told = bertc("build", google, "-o", out, *options)
    assert told.code == 0, told.err
    assert json.loads((out / "config.json").read_text())["hidden_act"] == "gelu_new"
    assert json.loads((out / "tokenizer_config.json").read_text())["do_lower_case"] is True
    warned = json.loads((out / "report.json").read_text())["warnings"]
    assert any("are no part of the model" in warning for warning in warned) == (facts["ignored_bytes"] >= 2**20)
    assert bertc("predict", out, "--text", TEXT).code == 0


def test_what_lies_there_is_called_a_checkpoint(google: Path) -> None:
    assert name_of_thing(google) == "a checkpoint"
    (google / "bert_model.ckpt.index").unlink()
    assert name_of_thing(google) == "a folder with files"
