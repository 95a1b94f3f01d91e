"""Which channels, heads and neurons a narrower student keeps: those that something reads, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.kept_width import checkpoint_of_width, places_of_heads
from bertc.core.example import Example
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.tasks import task_from_name
from bertc.train.examples import examples_from_rows
from bertc.train.losses import part_from_examples
from bertc.train.student import teacher_from_checkpoint
from bertc.train.width import TEXTS, width_from_examples
from tests.fixtures import tiny_sentence, tiny_tensors, write_safetensors, write_tiny_bert
from tests.tiny_families import write_tiny_family

Arrays = Mapping[str, NDArray[Any]]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
CHANNELS = np.sort(np.random.default_rng(1).permutation(64)[:32])
HEADS = ((0, 3), (1, 2))
NEURONS = tuple(np.sort(np.random.default_rng(layer).permutation(96)[:48]) for layer in (2, 3))


def examples_of(checkpoint: Checkpoint, texts: int = 8) -> tuple[Example, ...]:
    rows = [row_from_texts(tiny_sentence(seed, 3 + seed % 9)) for seed in range(texts)]
    features = task_from_name(checkpoint.head.task).features_from_rows(rows, checkpoint.encoder, 64)
    return examples_from_rows(rows, features, checkpoint.head)


def logits_of(checkpoint: Checkpoint) -> torch.Tensor:
    examples = examples_of(checkpoint)
    part = part_from_examples(examples, tuple(range(len(examples))), torch.device("cpu"))
    with torch.no_grad():
        return teacher_from_checkpoint(checkpoint)(part.feeds)["logits"]


def places_of(name: str) -> tuple[Any, ...]:
    """Return where the small model's tensor lies in the large one, along each axis."""
    layer = int(name.split(".")[3]) if "encoder.layer" in name else 0
    rows, columns = CHANNELS, CHANNELS
    if ".self." in name:
        rows = places_of_heads(HEADS[layer], 16)
    elif "attention.output.dense" in name:
        columns = places_of_heads(HEADS[layer], 16)
    elif "intermediate" in name:
        rows = NEURONS[layer]
    elif ".output.dense" in name:
        columns = NEURONS[layer]
    elif ("embeddings" in name and "LayerNorm" not in name) or name.startswith("classifier"):
        rows = slice(None)
    return (rows, columns)


def grown(small: Arrays) -> dict[str, NDArray[Any]]:
    """Return a model twice as wide that computes the same: every channel stands twice, so that norms stay what they
    are, and is read once; further heads and neurons are computed and not read."""
    generator = np.random.default_rng(0)
    twins = np.empty(64, np.int64)
    twins[CHANNELS] = np.arange(32)
    twins[np.setdiff1d(np.arange(64), CHANNELS)] = np.arange(32)
    large: dict[str, NDArray[Any]] = {}
    wide = {32: 64, 48: 96}
    for name, array in small.items():
        rows, columns = places_of(name)
        axes = (rows, columns)[: array.ndim]
        shape = [n if isinstance(places, slice) else wide[n] for n, places in zip(array.shape, axes, strict=True)]
        stream = "attention.output.dense" in name or ".output.dense" in name or "LayerNorm" in name
        if array.ndim == 1:
            values = generator.normal(size=shape).astype(np.float32)
            values[rows] = array
            large[name] = array[twins] if stream else values
            continue
        reads = ("query", "key", "value", "intermediate", "classifier")
        values = generator.normal(size=shape).astype(np.float32)
        if "embeddings" in name:
            large[name] = array[:, twins]
        elif stream:
            values[:] = 0.0
            values[:, columns] = array[twins]
            large[name] = values
        else:
            assert "pooler" in name or any(word in name for word in reads)
            values[:, np.setdiff1d(np.arange(64), CHANNELS)] = 0.0
            values[np.ix_(np.arange(shape[0])[rows], columns)] = array
            large[name] = values
    return large


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Checkpoint, Checkpoint]:
    """A small model, and one twice as wide that computes the same."""
    paths = [
        write_tiny_bert(tmp_path / "small", hidden=32, heads=2, intermediate=48, dtype="float32"),
        write_tiny_bert(tmp_path / "large", hidden=64, heads=4, intermediate=96, dtype="float32"),
    ]
    sizes = {"vocab_size": 0, "max_position_embeddings": 128, "type_vocab_size": 2}
    words = checkpoint_from_path(paths[0]).architecture.vocabulary
    small = tiny_tensors("sequence-classification", SIZES | sizes | {"vocab_size": words}, scores=2)
    write_safetensors(paths[0] / "model.safetensors", small)
    write_safetensors(paths[1] / "model.safetensors", grown(small))
    return checkpoint_from_path(paths[0]), checkpoint_from_path(paths[1])


def test_what_nothing_reads_is_left_out_and_changes_nothing(twins: tuple[Checkpoint, Checkpoint]) -> None:
    small, large = twins
    torch.testing.assert_close(logits_of(large), logits_of(small), rtol=1e-4, atol=1e-5)
    kept = width_from_examples(large, (0, 1), 32, examples_of(large))
    assert kept.channels == tuple(CHANNELS) and kept.heads == HEADS
    assert kept.neurons == tuple(map(tuple, NEURONS))
    student = checkpoint_of_width(large, kept)
    torch.testing.assert_close(logits_of(student), logits_of(small), rtol=1e-4, atol=1e-5)


def test_other_channels_would_have_changed_something(twins: tuple[Checkpoint, Checkpoint]) -> None:
    small, large = twins
    (layer,) = {len(width_from_examples(large, (1,), width, examples_of(large)).heads) for width in (16, 48)}
    assert layer == 1
    kept = width_from_examples(large, (0, 1), 16, examples_of(large))
    assert set(kept.channels) < set(CHANNELS) and all(set(a) < set(b) for a, b in zip(kept.heads, HEADS, strict=True))
    assert (logits_of(checkpoint_of_width(large, kept)) - logits_of(small)).abs().max() > 1e-2


def test_a_loud_channel_matters_more_and_a_quiet_one_less(tmp_path: Path) -> None:
    """What is read alike matters as much as it is large on the text."""
    path = write_tiny_bert(tmp_path, hidden=64, dtype="float32")
    whole = checkpoint_from_path(path)
    tensors = {whole.weights.stored_name(name): np.array(whole.weights.array(name)) for name in whole.weights}
    loud = [3, 10, 40]
    for name, array in tensors.items():
        if name.endswith("LayerNorm.weight"):
            array[:] = np.where(np.isin(np.arange(64), loud), 9.0, 0.1)
            array[32:] *= 0.5
        if name.endswith("LayerNorm.bias"):
            array[:] = 0.0
    write_safetensors(path / "model.safetensors", tensors)
    kept = width_from_examples(checkpoint_from_path(path), (0, 1), 32, examples_of(whole))
    assert set(loud) <= set(kept.channels)
    assert len(set(kept.channels) & set(range(32))) >= 29


def test_a_bias_per_head_has_the_same_heads_in_all_layers(tmp_path: Path) -> None:
    whole = checkpoint_from_path(write_tiny_family(tmp_path, "mpnet", num_attention_heads=8))
    kept = width_from_examples(whole, (0, 1), 32, examples_of(whole))
    assert kept.heads[0] == kept.heads[1] and len(kept.heads[0]) == 4
    assert kept.neurons[0] != kept.neurons[1]
    assert logits_of(checkpoint_of_width(whole, kept)).isfinite().all()


def test_the_choice_is_made_on_texts_of_all_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = checkpoint_from_path(write_tiny_bert(tmp_path))
    examples = examples_of(whole, 12)
    monkeypatch.setattr("bertc.train.width.TEXTS", 4)
    some = width_from_examples(whole, (0, 1), 32, examples)
    monkeypatch.setattr("bertc.train.width.TEXTS", TEXTS)
    assert some == width_from_examples(whole, (0, 1), 32, examples[::3])
    assert some != width_from_examples(whole, (0, 1), 32, examples[:1])


def test_a_width_that_cannot_be_is_refused(tmp_path: Path) -> None:
    whole = checkpoint_from_path(write_tiny_bert(tmp_path))
    with pytest.raises(InputError, match="no whole heads"):
        width_from_examples(whole, (0, 1), 33, examples_of(whole))
