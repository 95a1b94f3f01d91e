"""Heads: what config.json, the weights and modules.json say together, and where they disagree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.head import head_from_files
from bertc.checkpoint.sentence_modules import sentence_modules_from_path
from bertc.core.head import Head, Pooling, Problem
from bertc.errors import InputError
from bertc.evaluate.task import HeadFiles
from bertc.graph.encoder import graph_from_checkpoint
from tests.fixtures import (
    edit_json,
    tiny_tensors,
    write_json,
    write_safetensors,
    write_tiny_bert,
    write_tiny_sentences,
)


def head(path: Path, task: str | None = None) -> Head:
    return checkpoint_from_path(path, task=task).head


def test_labels_in_the_order_of_their_ids(tmp_path: Path) -> None:
    ids = {"10": "k", **{str(index): "abcdefghij"[index] for index in range(10)}}
    path = write_tiny_bert(tmp_path, labels="abcdefghijk", config={"id2label": ids})
    assert head(path).labels == tuple("abcdefghijk")


@pytest.mark.parametrize(
    ("labels", "problem", "expected"),
    [
        ("ab", None, Problem.SINGLE_LABEL),
        ("abc", "single_label_classification", Problem.SINGLE_LABEL),
        ("abc", "multi_label_classification", Problem.MULTI_LABEL),
        ("a", "multi_label_classification", Problem.MULTI_LABEL),
        ("a", None, Problem.REGRESSION),
        ("a", "regression", Problem.REGRESSION),
    ],
)
def test_problem(tmp_path: Path, labels: str, problem: str | None, expected: Problem) -> None:
    found = head(write_tiny_bert(tmp_path, labels=labels, config={"problem_type": problem}))
    assert found == Head(task="sequence-classification", labels=tuple(labels), problem=expected)


def test_token_and_span_heads(tmp_path: Path) -> None:
    tokens = head(write_tiny_bert(tmp_path / "tokens", task="token-classification"))
    assert tokens == Head(task="token-classification", labels=("O", "B-person", "I-person"))
    assert head(write_tiny_bert(tmp_path / "spans", task="question-answering")) == Head(task="question-answering")


@pytest.mark.parametrize("extra", [{"num_labels": 3}, {}])
def test_labels_without_names(tmp_path: Path, extra: dict[str, Any]) -> None:
    path = write_tiny_bert(tmp_path, labels="abc", config={"id2label": None, "label2id": None, **extra})
    assert head(path).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "says 3 labels but the classifier's weight has 2 rows"),
        ({"num_labels": 3}, "says 3 labels but the classifier's weight has 2 rows"),
        ({"id2label": None, "num_labels": 5}, "says 5 labels but the classifier's weight has 2 rows"),
        ({"num_labels": "2"}, "num_labels is '2'"),
        ({"id2label": {"0": "a", "2": "b"}}, r"ids of id2label are \[0, 2\], not 0 to 1"),
        ({"id2label": {"1": "a", "2": "b"}}, r"ids of id2label are \[1, 2\], not 0 to 1"),
        ({"id2label": {"0": "a", "00": "b"}}, r"ids of id2label are \[0\], not 0 to 1"),
        ({"id2label": {"zero": "a", "one": "b"}}, "key that is no whole number"),
        ({"id2label": {"0": "a", "1": "a"}}, "the label 'a' twice"),
        ({"id2label": {"0": 1, "1": 2}}, "id2label is no object of names"),
        ({"id2label": ["a", "b"]}, "id2label is no object of names"),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is unknown"),
        ({"problem_type": ["x"]}, "problem_type .* is unknown"),
        ({"architectures": ["BertForMaskedLM"]}, r"lacks the tensor cls\.predictions\.transform\.dense\.weight of a"),
        (
            {"architectures": ["BertForPreTraining"]},
            "architecture BertForPreTraining, whose head bertc does not compute",
        ),
        ({"architectures": ["BertLMHeadModel"]}, "architecture BertLMHeadModel, whose head"),
        ({"architectures": ["BertForMultipleChoice"]}, "architecture BertForMultipleChoice, whose head"),
        ({"architectures": None}, "choose the task sequence-classification or text-ranking or token-classification"),
        ({"architectures": ["BertForQuestionAnswering"]}, r"lacks the tensor qa_outputs\.weight"),
    ],
)
def test_config_and_weights_disagree(tiny: Path, entries: dict[str, Any], told: str) -> None:
    edit_json(tiny / "config.json", **entries)
    if "id2label" in entries and entries["id2label"] is None:
        edit_json(tiny / "config.json", label2id=None)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(tiny)


def test_one_score_is_no_choice(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path, labels="a", config={"problem_type": "single_label_classification"})
    with pytest.raises(InputError, match="needs two labels or more"):
        checkpoint_from_path(path)


def test_a_base_checkpoint_has_no_classifier(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path, task="feature-extraction")
    edit_json(path / "config.json", architectures=["BertForSequenceClassification"])
    with pytest.raises(InputError, match=r"lacks the tensor classifier\.weight, which sequence-classification needs"):
        checkpoint_from_path(path)


def test_spans_need_two_scores(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path, task="question-answering")
    write_safetensors(path / "model.safetensors", {"qa_outputs.weight": np.zeros((3, 64), np.float32)})
    with pytest.raises(InputError, match=r"qa_outputs\.weight has 3 rows, not 2"):
        checkpoint_from_path(path)


def test_a_classifier_of_another_shape(tiny: Path) -> None:
    write_safetensors(tiny / "model.safetensors", {"classifier.weight": np.zeros(64, np.float32)})
    with pytest.raises(InputError, match=r"classifier\.weight has the shape \[64\]"):
        checkpoint_from_path(tiny)


@pytest.mark.parametrize("task", ["question-answering", "feature-extraction"])
def test_without_architectures_the_weights_tell(tmp_path: Path, task: str) -> None:
    assert head(write_tiny_bert(tmp_path, task=task, config={"architectures": None})).task == task


def test_heads_of_two_tasks_and_no_architecture_are_a_choice(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path, task="question-answering", config={"architectures": None})
    weights = checkpoint_from_path(path).weights
    tensors = {name: weights.array(name) for name in weights} | {"classifier.weight": np.zeros((2, 64), np.float32)}
    write_safetensors(path / "model.safetensors", tensors)
    with pytest.raises(InputError, match="question-answering or sequence-classification or text-ranking or token-"):
        checkpoint_from_path(path)
    assert head(path, "question-answering") == Head(task="question-answering")


def test_the_user_s_task_wins(tiny: Path) -> None:
    assert head(tiny, "feature-extraction") == Head(task="feature-extraction", pooling=Pooling.MEAN)
    assert head(tiny, "token-classification").labels == ("negative", "positive")
    for task, told in (
        ("summarization", "task 'summarization' is unknown"),
        ("question-answering", "lacks the tensor"),
    ):
        with pytest.raises(InputError, match=told):
            head(tiny, task)


def test_a_masked_model_gives_embeddings_when_asked(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path, task="feature-extraction", config={"architectures": ["BertForMaskedLM"]})
    assert head(path, "feature-extraction").pooling is Pooling.MEAN


def test_sentence_modules(sentences: Path) -> None:
    checkpoint = checkpoint_from_path(sentences)
    assert checkpoint.head == Head(task="feature-extraction", pooling=Pooling.MEAN, normalize=True)
    assert checkpoint.encoder.max_length == 32
    assert checkpoint.encoder.positions == 128


@pytest.mark.parametrize(
    "name", ["BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification", "BertModel"]
)
def test_modules_tell_more_than_the_architecture_that_the_encoder_came_from(sentences: Path, name: str) -> None:
    """all-mpnet-base-v2 has MPNetForMaskedLM in its configuration, and no such head."""
    edit_json(sentences / "config.json", architectures=[name])
    assert head(sentences).task == "feature-extraction"


def test_modules_and_a_classifier_that_is_there_are_a_choice(sentences: Path) -> None:
    edit_json(sentences / "config.json", architectures=["BertForSequenceClassification"])
    weights = checkpoint_from_path(sentences).weights
    tensors = {name: weights.array(name) for name in weights} | {"classifier.weight": np.zeros((2, 64), np.float32)}
    write_safetensors(sentences / "model.safetensors", tensors)
    with pytest.raises(InputError, match="choose the task feature-extraction or sequence-classification"):
        checkpoint_from_path(sentences)
    assert head(sentences, "sequence-classification").labels == ("LABEL_0", "LABEL_1")


def test_modules_and_spans_that_are_there_are_a_choice_whatever_the_family_calls_them(sentences: Path) -> None:
    weights = dict.fromkeys(("classifier.weight", "classifier.bias"))
    modules = sentence_modules_from_path(sentences)
    config = {"architectures": ["ModernBertForQuestionAnswering"]}
    files = HeadFiles(folder=sentences, config=config, weights=weights, spans="classifier", sentences=modules)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="choose the task feature-extraction or question-answering"):
        head_from_files(files)
    assert head_from_files(replace(files, weights={})).task == "feature-extraction"  # type: ignore[arg-type]


def test_sentence_modules_without_normalisation(tmp_path: Path) -> None:
    assert head(write_tiny_sentences(tmp_path, modules=("Transformer", "Pooling"))).normalize is False


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("flags", [True, False])
def test_pooling(sentences: Path, pooling: str, flags: bool) -> None:
    ends = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    config: dict[str, Any] = {"pooling_mode": pooling, "include_prompt": True}
    if flags:
        config = {f"pooling_mode_{end}": name == pooling for name, end in ends.items()}
    write_json(sentences / "1_Pooling" / "config.json", config)
    assert head(sentences).pooling == pooling


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode_mean_sqrt_len_tokens": True},
        {"pooling_mode_lasttoken": True},
        {"pooling_mode": "lasttoken"},
        {"pooling_mode": ["cls", "mean"]},
    ],
)
def test_pooling_that_bertc_cannot(sentences: Path, config: dict[str, Any]) -> None:
    write_json(sentences / "1_Pooling" / "config.json", config)
    with pytest.raises(InputError, match=r"1_Pooling/config\.json: the pooling .* is not supported"):
        checkpoint_from_path(sentences)


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        (("Transformer", "Pooling", "LayerNorm"), r"module sentence_transformers\.models\.LayerNorm is not"),
        (("Transformer", "Pooling", "Normalize", "Dense"), "the modules are Transformer, Pooling, Normalize, Dense"),
        (("Transformer", "Dense", "Pooling"), "the modules are Transformer, Dense, Pooling"),
        (("Transformer", "Dense", "Normalize"), "the modules are Transformer, Dense, Normalize"),
        (("Transformer", "Normalize", "Pooling"), "the modules are Transformer, Normalize, Pooling"),
        (("Transformer", "Pooling", "Pooling"), r"module sentence_transformers\.models\.Pooling is not"),
        (("Transformer",), "the modules are Transformer; bertc computes"),
        (("Pooling",), "the modules are Pooling; bertc computes"),
    ],
)
def test_modules_that_bertc_cannot(tmp_path: Path, modules: tuple[str, ...], told: str) -> None:
    path = write_tiny_sentences(tmp_path, modules=modules)
    with pytest.raises(InputError, match=rf"modules\.json: .*{told}"):
        checkpoint_from_path(path)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"type": "custom_code.Transformer", "path": ""}, r"module custom_code\.Transformer is not supported"),
        ({"type": "sentence_transformers.models.Transformer", "path": "../other"}, "lies outside"),
        ({"type": "sentence_transformers.models.Transformer", "path": 3}, "no relative path"),
        ({}, "module None is not supported"),
        ("Transformer", "is no list of modules"),
    ],
)
def test_hostile_modules(sentences: Path, entry: Any, told: str) -> None:
    write_json(sentences / "modules.json", [entry])
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(sentences)


def test_the_encoder_may_lie_in_its_own_folder(sentences: Path) -> None:
    digest = checkpoint_from_path(sentences).digest
    inner = sentences / "0_Transformer"
    inner.mkdir()
    for file in sentences.iterdir():
        if file.is_file() and file.name != "modules.json":
            file.rename(inner / file.name)
    kinds = ("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")
    entries = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    write_json(sentences / "modules.json", entries)
    checkpoint = checkpoint_from_path(sentences)
    assert checkpoint.head.normalize
    assert checkpoint.path == sentences
    assert checkpoint.encoder.max_length == 32
    assert checkpoint.digest != digest


def test_a_default_prompt_is_refused(sentences: Path) -> None:
    write_json(sentences / "config_sentence_transformers.json", {"prompts": {"query": "query: "}})
    assert head(sentences).normalize
    edit_json(sentences / "config_sentence_transformers.json", default_prompt_name="query")
    with pytest.raises(InputError, match="the default prompt 'query' is not supported"):
        checkpoint_from_path(sentences)


def mixed(path: Path, weights: Any, start: int = 1, layers: int = 2) -> Path:
    write_tiny_sentences(path, modules=("Transformer", "WeightedLayerPooling", "Pooling"))
    folder = path / "1_WeightedLayerPooling"
    write_json(folder / "config.json", {"layer_start": start, "num_hidden_layers": layers})
    if weights is not None:
        write_safetensors(folder / "model.safetensors", {"layer_weights": np.array(weights, np.float32)})
    return path


def test_a_mix_of_layers(tmp_path: Path) -> None:
    found = head(mixed(tmp_path, [1, 3]))
    assert found.layer_weights == (0.0, 0.25, 0.75)
    assert found.normalize is False
    digest = checkpoint_from_path(tmp_path).digest
    folder = tmp_path / "1_WeightedLayerPooling"
    write_safetensors(folder / "model.safetensors", {"layer_weights": np.array([3, 1], np.float32)})
    assert checkpoint_from_path(tmp_path).digest != digest


@pytest.mark.parametrize(
    ("weights", "start", "layers", "told"),
    [
        ([1, 1], 0, 2, "2 layer weights do not fit layer_start 0"),
        ([1, 1], -1, 2, "2 layer weights do not fit"),
        ([1, -1], 1, 2, "sum to zero"),
        ([1, np.nan], 1, 2, "layer_weights holds 1 NaN"),
        (None, 1, 2, r"has no model\.safetensors with the layers' weights"),
    ],
)
def test_a_broken_mix(tmp_path: Path, weights: Any, start: int, layers: int, told: str) -> None:
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(mixed(tmp_path, weights, start, layers))


def test_a_mix_of_more_layers_than_there_are(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(mixed(tmp_path, [1, 1, 1], 1, 3))
    with pytest.raises(InputError, match="the layer mix has 4 weights where the model has 3 hidden states"):
        graph_from_checkpoint(checkpoint)


def test_tiny_tensors_are_seeded() -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 9}
    sizes |= {"max_position_embeddings": 4, "type_vocab_size": 2}
    first, again, other = (tiny_tensors("question-answering", sizes, scores=0, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["qa_outputs.weight"], other["qa_outputs.weight"])
