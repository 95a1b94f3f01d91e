"""Metrics of embeddings: cosine to the float model's, and whether retrieval finds the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.head import Similarity
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric
from bertc.evaluate.metrics.fidelity import distance_metric

# Retrieval compares every text with every other; with this many it is a second's work.
CORPUS_TEXTS = 4096
BLOCK_TEXTS = 512
RECALL_AT = 10
TIE = 1e-6  # of the largest product: float32 sums of 384 products differ in the seventh digit


def unit_vectors(embeddings: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors of length 1 along the last axis; a zero vector stays zero."""
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def cosine(a: NDArray[Any], b: NDArray[Any]) -> Array:
    """Return the cosine of vectors along the last axis, at most 1; that with a zero vector is 0."""
    one, two = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    return np.asarray(np.clip((one * two).sum(-1) / np.maximum(lengths, np.finfo(np.float64).tiny), -1.0, 1.0))


def similarity(a: NDArray[Any], b: NDArray[Any], kind: Similarity) -> Array:
    """Return how near vectors are along the last axis, as sentence-transformers' `similarity_pairwise` does.

    >>> float(similarity(np.array([3.0, 4.0]), np.array([0.0, 0.0]), Similarity.EUCLIDEAN))
    -5.0
    """
    if kind == Similarity.COSINE:
        return cosine(a, b)
    one, two = a.astype(np.float64), b.astype(np.float64)
    if kind == Similarity.DOT:
        return np.asarray((one * two).sum(-1))
    if kind == Similarity.MANHATTAN:
        return np.asarray(-np.abs(one - two).sum(-1))
    return np.asarray(-np.sqrt(((one - two) ** 2).sum(-1)))


def embedding_metrics(kind: Similarity = Similarity.COSINE, rows: int | None = None) -> tuple[Metric, ...]:
    """Return mean_cosine, agreement (same nearest neighbour), recall_at_10 and logit_mse. Embeddings: [n, texts, H].

    Neighbours are nearest by `kind`, among the texts of the first so many rows, and no more than 4,096 texts.
    """
    same = Metric(
        name="agreement",
        direction=HIGHER,
        statistics=partial(_same_neighbour, kind=kind),
        formula="ratio",
        fidelity=True,
        whole_set=True,
        corpus=CORPUS_TEXTS if rows is None else rows,
    )
    return (
        replace(same, name="mean_cosine", statistics=_mean_cosine, whole_set=False, corpus=None, bounds=(-1.0, 1.0)),
        same,
        replace(same, name="recall_at_10", statistics=partial(_recall, kind=kind)),
        distance_metric("logit_mse", _squared_error),
    )


def _mean_cosine(reference: Any, outputs: Any) -> Array:
    values = cosine(reference, outputs)
    return np.stack([values.sum(-1), np.full(len(values), float(values.shape[-1]))], -1)


def _squared_error(reference: Any, outputs: Any) -> Array:
    squared = (reference.astype(np.float64) - outputs) ** 2
    return np.stack([squared.sum((-1, -2)), np.full(len(squared), float(squared[0].size))], -1)


def _same_neighbour(reference: Any, outputs: Any, *, kind: Similarity) -> Array:
    """Share of texts whose nearest neighbour is one of the float model's nearest."""

    def agreeing(float_scores: Array, scores: Array) -> Array:
        best = scores.argmax(-1)
        found = np.take_along_axis(float_scores, best[:, None], -1)[:, 0]
        return np.asarray(found >= float_scores.max(-1) - TIE, np.float64)

    return _over_texts(reference, outputs, kind, agreeing)


def _recall(reference: Any, outputs: Any, *, kind: Similarity) -> Array:
    """Share of the engine's ten nearest that are among the float model's ten nearest (ties count)."""

    def overlapping(float_scores: Array, scores: Array) -> Array:
        count = min(RECALL_AT, scores.shape[1] - 1)
        mine = np.argpartition(scores, -count, axis=-1)[:, -count:]
        bar = np.partition(float_scores, -count, axis=-1)[:, -count]
        return np.asarray((np.take_along_axis(float_scores, mine, -1) >= bar[:, None] - TIE).mean(-1))

    return _over_texts(reference, outputs, kind, overlapping)


def _over_texts(reference: Any, outputs: Any, kind: Similarity, judge: Callable[[Array, Array], Array]) -> Array:
    """Return [rows, (sum, texts)] of a judgement per text; texts beyond the corpus are not asked."""
    rows, texts = reference.shape[:2]
    statistics = np.zeros((rows, 2))
    for start, float_scores, scores in _score_blocks(reference, outputs, kind):
        where = np.arange(start, start + len(scores)) // texts
        np.add.at(statistics[:, 0], where, judge(float_scores, scores))
        np.add.at(statistics[:, 1], where, 1.0)
    return statistics


def _score_blocks(reference: Any, outputs: Any, kind: Similarity) -> Iterator[tuple[int, Array, Array]]:
    vectors = [_comparable(x.reshape(-1, x.shape[-1])[:CORPUS_TEXTS], kind) for x in (reference, outputs)]
    for start in range(0, len(vectors[0]), BLOCK_TEXTS):
        if len(vectors[0]) < 2:
            return
        found = []
        for every in vectors:
            scores = _nearness(every[start : start + BLOCK_TEXTS], every, kind)
            index = np.arange(len(scores))
            scores[index, start + index] = -np.inf  # a text is not its own neighbour
            found.append(scores)
        yield start, found[0], found[1]


def _comparable(vectors: NDArray[Any], kind: Similarity) -> NDArray[np.float32]:
    """Return vectors of length 1 for cosines, else all by one factor, so that the longest has it: no order changes."""
    if kind == Similarity.COSINE:
        return unit_vectors(vectors)
    longest = np.linalg.norm(vectors, ord=1 if kind == Similarity.MANHATTAN else 2, axis=-1).max(initial=0.0)
    return np.asarray(vectors / max(longest, np.finfo(np.float32).tiny), np.float32)


def _nearness(some: NDArray[np.float32], every: NDArray[np.float32], kind: Similarity) -> Array:
    """Return numbers [some, every] that are larger where vectors are nearer; the squared distance for a distance."""
    if kind == Similarity.MANHATTAN:
        return np.stack([-np.abs(every - one).sum(-1, dtype=np.float64) for one in some])
    products = (some @ every.T).astype(np.float64)
    if kind == Similarity.EUCLIDEAN:
        squares = [(vectors.astype(np.float64) ** 2).sum(-1) for vectors in (some, every)]
        return np.asarray(2 * products - squares[0][:, None] - squares[1])
    return products
