"""Classifiers behind earlier layers: DeeBERT's and PABEE's are read as their authors compute them, ours on means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.exit_classifiers import EXIT_POOLING, checkpoint_with_exits, checkpoint_with_own_exits
from bertc.checkpoint.write import write_checkpoint
from bertc.core.batch import batch_from_features
from bertc.core.exits import exit_name
from bertc.core.head import Exit, Pooling
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from tests.fixtures import write_tiny_bert
from tests.tiny import random_features

Tensors = dict[str, NDArray[np.float32]]
LAYERS, HIDDEN = 3, 64
BATCH = batch_from_features(random_features(6), range(6))


def rewritten(folder: Path, change: Callable[[Tensors], Tensors], **options: object) -> Path:
    """Write a tiny classifier with other tensors."""
    write_tiny_bert(folder, layers=LAYERS, dtype="float32", **options)  # type: ignore[arg-type]
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    return folder


def linear(seed: int, rows: int) -> Tensors:
    generator = np.random.default_rng(seed)
    return {
        "weight": generator.normal(0, 0.2, (rows, HIDDEN)).astype(np.float32),
        "bias": generator.normal(0, 0.2, rows).astype(np.float32),
    }


def with_modules(tensors: Tensors, modules: dict[str, Tensors]) -> Tensors:
    return tensors | {f"{name}.{leaf}": array for name, module in modules.items() for leaf, array in module.items()}


def deebert(tensors: Tensors) -> Tensors:
    modules = {}
    for layer in range(LAYERS):
        modules[f"bert.encoder.highway.{layer}.pooler.dense"] = linear(layer, HIDDEN)
        modules[f"bert.encoder.highway.{layer}.classifier"] = linear(10 + layer, 2)
    return with_modules(tensors, modules)


def pabee(tensors: Tensors) -> Tensors:
    kept = {name: array for name, array in tensors.items() if not name.startswith("classifier.")}
    return with_modules(kept, {f"classifiers.{layer}": linear(layer, 2) for layer in range(LAYERS)})


def hidden_states(checkpoint: Checkpoint) -> list[NDArray[np.float32]]:
    """What each layer gives for the first token, [texts, hidden]."""
    return [states[:, 0] for states in token_states(checkpoint)]


def mean_states(checkpoint: Checkpoint) -> list[NDArray[np.float32]]:
    """The mean of what each layer gives for a text's tokens, [texts, hidden]."""
    mask = (BATCH.mask != 0)[..., None]
    return [(states * mask).sum(1) / mask.sum(1) for states in token_states(checkpoint)]


def token_states(checkpoint: Checkpoint) -> list[NDArray[np.float32]]:
    """What each layer gives, [texts, length, hidden]."""
    graph = graph_from_checkpoint(checkpoint)
    values = {value.name: value for node in graph.graph for value in node.outputs}
    names = [*(f"layer.{layer}.hidden" for layer in range(1, LAYERS)), "encoder.output"]
    graph.graph.outputs.extend(values[name] for name in names)
    found = Interpreter(graph).run(BATCH)
    return [found[name] for name in names]


def applied(module: Tensors, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x @ module["weight"].T + module["bias"]


@pytest.mark.parametrize(
    "config, pooled",
    [({}, hidden_states), ({EXIT_POOLING: "cls"}, hidden_states), ({EXIT_POOLING: "mean"}, mean_states)],
)
def test_deebert_has_a_pooler_and_a_classifier_behind_every_layer(
    config: dict[str, str], pooled: Callable[[Checkpoint], list[NDArray[np.float32]]], tmp_path: Path
) -> None:
    """As `BertHighway.forward` computes it; the last layer's highway stays unread, its classifier is the model's."""
    checkpoint = checkpoint_from_path(rewritten(tmp_path, deebert, config=config))
    assert checkpoint.notes == ()
    assert [each.layer for each in checkpoint.exits] == [0, 1]
    assert checkpoint.head.exits == ()
    found = Interpreter(graph_from_checkpoint(checkpoint_with_exits(checkpoint))).run(BATCH)
    for layer, states in enumerate(pooled(checkpoint)[:-1]):
        expected = applied(linear(10 + layer, 2), np.tanh(applied(linear(layer, HIDDEN), states)))
        np.testing.assert_allclose(found[exit_name(layer)], expected, atol=1e-4)


def test_pabee_has_classifiers_on_the_models_pooler_and_the_last_is_the_models(tmp_path: Path) -> None:
    """As `BertModelWithPabee.forward` computes it with a patience."""
    path = rewritten(tmp_path, pabee, config={"architectures": ["BertForSequenceClassificationWithPabee"]})
    checkpoint = checkpoint_from_path(path)
    assert checkpoint.exits == tuple(Exit(layer=i, dense="pooler.dense", classifier=f"classifiers.{i}") for i in (0, 1))
    tensors = load_file(path / "model.safetensors")
    pooler = {leaf: tensors[f"bert.pooler.dense.{leaf}"] for leaf in ("weight", "bias")}
    found = Interpreter(graph_from_checkpoint(checkpoint_with_exits(checkpoint))).run(BATCH)
    for layer, states in enumerate(hidden_states(checkpoint)):
        expected = applied(linear(layer, 2), np.tanh(applied(pooler, states)))
        name = exit_name(layer) if layer < LAYERS - 1 else "logits"
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    with pytest.raises(InputError, match="share one pooler"):
        checkpoint_with_own_exits(checkpoint)
    write_checkpoint(checkpoint, tmp_path / "copy", {})
    assert load_file(tmp_path / "copy" / "model.safetensors").keys() == tensors.keys()


def test_exits_to_train_begin_as_the_last_classifier_and_are_written_in_deeberts_layout(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_own_exits(checkpoint_from_path(rewritten(tmp_path / "plain", lambda tensors: tensors)))
    weights = checkpoint.weights
    np.testing.assert_array_equal(
        weights.array("encoder.highway.1.classifier.weight"), weights.array("classifier.weight")
    )
    changed = {"encoder.highway.1.classifier.bias": np.float32([1, 2])}
    write_checkpoint(checkpoint, tmp_path / "written", changed)
    stored = load_file(tmp_path / "written" / "model.safetensors")
    assert stored["bert.encoder.highway.1.classifier.bias"].tolist() == [1, 2]
    again = checkpoint_from_path(tmp_path / "written")
    assert {each.pooling for each in again.exits} == {Pooling.MEAN}
    assert again.exits == checkpoint.exits
    assert checkpoint_with_exits(again).head == checkpoint.head
    assert dict(again.config) == {**checkpoint_from_path(tmp_path / "plain").config, EXIT_POOLING: "mean"}


def test_exits_of_others_that_are_trained_further_stay_on_the_first_token(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_own_exits(checkpoint_from_path(rewritten(tmp_path / "deebert", deebert)))
    write_checkpoint(checkpoint, tmp_path / "written", {})
    again = checkpoint_from_path(tmp_path / "written")
    assert {each.pooling for each in again.exits} == {Pooling.CLS}
    assert EXIT_POOLING not in again.config


@pytest.mark.parametrize("named", ["max", "MEAN", 1, ["mean"]], ids=repr)
def test_a_pooling_that_is_none_of_theirs_is_refused(named: object, tmp_path: Path) -> None:
    path = rewritten(tmp_path, deebert, config={EXIT_POOLING: named})
    with pytest.raises(InputError, match=r"exit_pooling is .*; write 'cls' or 'mean'"):
        checkpoint_from_path(path)


@pytest.mark.parametrize(
    "left_out, told",
    [
        ("encoder.highway.1.classifier.bias", "lacks the tensor encoder.highway.1.classifier.bias"),
        ("encoder.highway.0.pooler.dense.weight", "lacks the tensor encoder.highway.0.pooler.dense.weight"),
    ],
)
def test_an_exit_that_is_not_whole_is_refused(left_out: str, told: str, tmp_path: Path) -> None:
    def change(tensors: Tensors) -> Tensors:
        return {name: array for name, array in deebert(tensors).items() if not name.endswith(left_out)}

    with pytest.raises(InputError, match=told):
        checkpoint_from_path(rewritten(tmp_path, change))


def test_an_exit_of_another_size_is_refused(tmp_path: Path) -> None:
    def change(tensors: Tensors) -> Tensors:
        return deebert(tensors) | {"bert.encoder.highway.0.classifier.weight": np.zeros((3, HIDDEN), np.float32)}

    checkpoint = checkpoint_from_path(rewritten(tmp_path, change))
    with pytest.raises(InputError, match=r"highway.0.classifier.weight' has shape \[3, 64\]"):
        graph_from_checkpoint(checkpoint_with_exits(checkpoint))


def test_classifiers_with_their_own_attention_are_refused_by_name(tmp_path: Path) -> None:
    def change(tensors: Tensors) -> Tensors:
        return with_modules(tensors, {"classifiers.0.output_layer_0": linear(0, 128)})

    with pytest.raises(InputError, match="FastBERT's classifiers with their own attention are not supported"):
        checkpoint_from_path(rewritten(tmp_path, change))


@pytest.mark.parametrize(
    "options",
    [
        {"task": "token-classification"},
        {"task": "feature-extraction"},
        {"labels": ("score",)},
        {"config": {"problem_type": "multi_label_classification"}},
        {"layers": 1},
    ],
    ids=str,
)
def test_models_without_a_label_for_each_text_have_no_exits(options: dict[str, object], tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path, **options))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="early exit needs a text classifier with one label of several"):
        checkpoint_with_exits(checkpoint)
