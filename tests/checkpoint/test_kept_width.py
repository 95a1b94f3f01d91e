"""A checkpoint of less width: it computes what transformers' model does with the rest shut off; what has no less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.exit_classifiers import checkpoint_with_exits
from bertc.checkpoint.kept_width import (
    KeptWidth,
    check_width,
    checkpoint_of_width,
    first_width,
    places_of_heads,
    sizes_of_width,
)
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.architecture import LayerNames
from tests.fixtures import tiny_sentence, write_tiny_bert, write_tiny_sentences
from tests.tiny_families import write_tiny_family

TEXTS = [tiny_sentence(seed, 3 + 2 * seed) for seed in range(4)]
KEPT = KeptWidth(
    channels=tuple(range(1, 64, 2)), heads=((1,), (0,)), neurons=(tuple(range(3, 67)), tuple(range(0, 128, 2)))
)


def norm_of_channels(norm: Any, channels: Any) -> Any:
    """Return a LayerNorm over some channels, which gives 0 in the others."""
    import torch

    class Norm(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            some = torch.nn.functional.layer_norm(
                x[..., channels], (len(channels),), norm.weight[channels], norm.bias[channels], norm.eps
            )
            return torch.zeros_like(x).index_copy(-1, channels, some)

    return Norm()


def shut_off(model: Any, layers: tuple[LayerNames, ...], kept: KeptWidth) -> None:
    """Let a model of transformers compute with what is kept alone, at its old size."""
    import torch

    channels = torch.tensor(kept.channels)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.LayerNorm):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, norm_of_channels(module, channels))
    readers = [(getattr(model.classifier, "out_proj", model.classifier), kept.channels)]
    for names, heads, neurons in zip(layers, kept.heads, kept.neurons, strict=True):
        readers += [
            (model.base_model.get_submodule(names.attention_output), places_of_heads(heads, 32)),
            (model.base_model.get_submodule(names.output), neurons),
        ]
    for module, places in readers:
        seen = torch.zeros(module.weight.shape[1]).index_fill(0, torch.tensor(np.array(places)), 1.0)
        module.weight.data *= seen


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra", "mpnet"])
def test_what_is_written_is_transformers_model_with_the_rest_shut_off(model_type: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    wide = {"embedding_size": 64} if model_type == "electra" else {}
    whole = checkpoint_from_path(write_tiny_family(tmp_path / "whole", model_type, **wide))
    kept = replace(KEPT, heads=((1,), (1,))) if model_type == "mpnet" else KEPT
    student = checkpoint_of_width(whole, kept)
    (tmp_path / "student").mkdir()
    write_checkpoint(student, tmp_path / "student", {})
    written = checkpoint_from_path(tmp_path / "student")
    sizes = (written.architecture.hidden, written.architecture.heads, written.architecture.intermediate)
    assert sizes == (32, 1, 64) and written.architecture.head_size == 32
    assert written.architecture == student.architecture and set(written.weights) == set(student.weights)
    assert written.head == whole.head and written.parameters == student.parameters < whole.parameters / 1.5
    open_model = transformers.AutoModelForSequenceClassification.from_pretrained
    models = [open_model(tmp_path / name, dtype=torch.float32).eval() for name in ("whole", "student")]
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        before, found = (model(**tokens).logits for model in models)
        shut_off(models[0], whole.architecture.layer_names, kept)
        expected = models[0](**tokens).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - before).abs().max() > 1e-3


def test_a_narrower_one_is_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    whole = checkpoint_from_path(write_tiny_bert(tmp_path))
    first, other = (checkpoint_of_width(whole, kept) for kept in (first_width(whole.architecture, 32), KEPT))
    assert len({whole.digest, first.digest, other.digest}) == 3
    name = "encoder.layer.1.output.dense.weight"
    expected = whole.weights.array(name)[np.ix_(KEPT.channels, KEPT.neurons[1])]
    assert np.array_equal(other.weights.array(name), expected) and other.weights.shape(name) == (32, 64)
    assert other.weights.stored_name(name) == "bert." + name
    assert other.config["num_attention_heads"] == 1 and whole.config["num_attention_heads"] == 2
    with pytest.raises(InputError, match="lacks the tensor nothing"):
        other.weights.array("nothing")


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "text-ranking"])
def test_every_head_that_scores_is_cut(task: str, tmp_path: Path) -> None:
    whole = checkpoint_from_path(write_tiny_bert(tmp_path / "whole", task=task), task=task)
    check_width(whole, 32)
    student = checkpoint_of_width(whole, KEPT)
    (tmp_path / "student").mkdir()
    write_checkpoint(student, tmp_path / "student", {})
    written = checkpoint_from_path(tmp_path / "student", task=task)
    graph_from_checkpoint(written)  # refuses a weight of another shape
    assert written.head == whole.head


def test_sizes_keep_their_ratio(tmp_path: Path) -> None:
    architecture = checkpoint_from_path(write_tiny_bert(tmp_path, hidden=96, heads=6, intermediate=100)).architecture
    assert sizes_of_width(architecture, 64) == (4, 66)
    kept = first_width(architecture, 64)
    assert (len(kept.channels), kept.heads[1], len(kept.neurons[1])) == (64, (0, 1, 2, 3), 66)


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (64, "is 64 wide, and a student of 64 is no narrower"),
        (128, "is 64 wide, and a student of 128 is no narrower"),
        (40, "no whole heads, which are 16 wide in .*; choose a multiple with --hidden, such as 32 or 48"),
        (5, "choose a multiple with --hidden, such as 16"),
        (60, "such as 48$"),
    ],
)
def test_a_width_that_is_none_is_refused(hidden: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        check_width(checkpoint_from_path(write_tiny_bert(tmp_path, heads=4)), hidden)


def test_one_head_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no whole heads.*leave --hidden out"):
        check_width(checkpoint_from_path(write_tiny_bert(tmp_path, heads=1)), 32)


def test_a_feed_forward_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a feed-forward of 1 for 64 channels, of which nothing is left for 32"):
        check_width(checkpoint_from_path(write_tiny_bert(tmp_path, intermediate=1)), 32)


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("albert", "its layers share their weights"),
        ("electra", "its embeddings are narrower than its layers"),
        ("modernbert", "its layers are not BERT's"),
        ("nomic-bert", "its layers are not BERT's"),
        ("deberta-v2", "its layers are not BERT's"),
    ],
)
def test_models_that_are_not_cut_are_refused(model_type: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{reason} .*train a smaller one"):
        check_width(checkpoint_from_path(write_tiny_family(tmp_path, model_type)), 32)


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    sentences = write_tiny_sentences(tmp_path / "sentences")
    colbert = write_tiny_bert(tmp_path / "colbert", task="late-interaction")
    for path in (sentences, colbert):
        with pytest.raises(InputError, match="its head reads vectors that are as wide as its layers"):
            check_width(checkpoint_from_path(path), 32)


def test_exits_are_refused(tmp_path: Path) -> None:
    with_exits = checkpoint_with_exits(checkpoint_from_path(write_tiny_bert(tmp_path)))
    with pytest.raises(InputError, match="it has classifiers behind earlier layers"):
        check_width(with_exits, 32)
