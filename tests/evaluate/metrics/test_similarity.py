"""Metrics of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.core.head import Similarity
from bertc.evaluate.metrics.similarity import cosine, embedding_metrics, similarity

METRICS = {metric.name: metric for metric in embedding_metrics()}
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.standard_normal((60, 2, 16)).astype(np.float32)


def test_cosine() -> None:
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(2**-0.5)
    assert cosine(np.zeros(3), np.ones(3)) == 0


def test_no_cosine_is_beyond_one_and_of_a_vector_with_itself_it_is_one() -> None:
    """A float model's cosine to itself stands in the report."""
    vectors = np.random.default_rng(0).normal(size=(2000, 384)).astype(np.float32)
    vectors[:500] *= np.float32(1e30)  # whose squares are beyond float32
    for other, sign in ((vectors, 1.0), (-vectors, -1.0)):
        found = cosine(vectors, other)
        assert np.abs(found).max() <= 1 and found == pytest.approx(np.full(2000, sign), abs=1e-15)


def test_scale_does_not_matter_but_direction_does() -> None:
    assert METRICS["mean_cosine"].value(VECTORS, 3 * VECTORS) == pytest.approx(1)
    assert METRICS["agreement"].value(VECTORS, 3 * VECTORS) == 1
    assert METRICS["recall_at_10"].value(VECTORS, 3 * VECTORS) == 1
    assert METRICS["mean_cosine"].value(VECTORS, -VECTORS) == pytest.approx(-1)
    other = RANDOM.standard_normal(VECTORS.shape).astype(np.float32)
    assert METRICS["agreement"].value(VECTORS, other) < 0.2
    assert METRICS["recall_at_10"].value(VECTORS, other) == pytest.approx(10 / 119, abs=0.05)


def test_retrieval_against_a_plain_loop() -> None:
    noisy = (VECTORS + 0.5 * RANDOM.standard_normal(VECTORS.shape)).astype(np.float32)
    found = []
    for unit in (VECTORS, noisy):
        flat = unit.reshape(-1, 16) / np.linalg.norm(unit.reshape(-1, 16), axis=-1, keepdims=True)
        scores = flat @ flat.T
        np.fill_diagonal(scores, -9)
        found.append(scores)
    same = np.mean(found[0].argmax(-1) == found[1].argmax(-1))
    tops = [np.argsort(-scores, axis=-1)[:, :10] for scores in found]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*tops, strict=True)])
    assert METRICS["agreement"].value(VECTORS, noisy) == pytest.approx(same)
    assert METRICS["recall_at_10"].value(VECTORS, noisy) == pytest.approx(recall)


@pytest.mark.parametrize("kind", list(Similarity))
def test_neighbours_are_the_nearest_by_the_model_s_own_similarity(kind: Similarity) -> None:
    metrics = {metric.name: metric for metric in embedding_metrics(kind)}
    lengths = np.exp(RANDOM.standard_normal((60, 2, 1))).astype(np.float32)
    stretched = VECTORS * lengths
    found = []
    for vectors in (VECTORS, stretched):
        flat = vectors.reshape(-1, 16)
        scores = np.array([similarity(np.broadcast_to(one, flat.shape), flat, kind) for one in flat])
        np.fill_diagonal(scores, -np.inf)
        found.append(scores)
    same = np.mean(found[0].argmax(-1) == found[1].argmax(-1))
    assert metrics["agreement"].value(VECTORS, stretched) == pytest.approx(same)
    tops = [np.argsort(-scores, axis=-1)[:, :10] for scores in found]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*tops, strict=True)])
    assert metrics["recall_at_10"].value(VECTORS, stretched) == pytest.approx(recall)
    assert (same == 1) == (kind == Similarity.COSINE)  # the directions are the same
    assert metrics["mean_cosine"].value(VECTORS, stretched) == pytest.approx(1)
    assert metrics["agreement"].value(VECTORS, 1000 * VECTORS) == 1


def test_blocks_and_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = np.concatenate([VECTORS, VECTORS])
    noisy = doubled * np.float32(1 + 1e-7)
    assert METRICS["agreement"].value(doubled, noisy) == 1
    whole = METRICS["recall_at_10"].statistics(VECTORS, VECTORS[::-1])
    monkeypatch.setattr("bertc.evaluate.metrics.similarity.BLOCK_TEXTS", 7)
    assert np.array_equal(whole, METRICS["recall_at_10"].statistics(VECTORS, VECTORS[::-1]))


def test_a_single_text_has_no_neighbours() -> None:
    assert np.isnan(METRICS["agreement"].value(VECTORS[:1, :1], VECTORS[:1, :1]))
    assert METRICS["mean_cosine"].value(VECTORS[:1, :1], VECTORS[:1, :1]) == pytest.approx(1)
