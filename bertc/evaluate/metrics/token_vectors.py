"""MaxSim, the score of a query's and a document's tokens, and how near an engine's are to the float model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric
from bertc.evaluate.metrics.fidelity import distance_metric
from bertc.evaluate.metrics.similarity import cosine

COMPARED = np.dtype([("score", np.float32), ("query", np.uint64), ("tokens", object)])
"""Outputs are a structured array [rows]: the score and the query's number, as a ranking's, and the vectors of the
query's and the document's tokens, two arrays float32 [tokens, dim]."""

CORPUS_ROWS = 256
"""Each row's query is compared with so many rows' documents: with short texts it is a second's work."""

Vectors = NDArray[np.float32]


def max_sim(query: NDArray[Any], document: NDArray[Any]) -> float:
    """Return sum over the query's tokens of the largest dot product with one of the document's; [tokens, dim] each.

    A document without tokens has the score 0.

    >>> max_sim(np.eye(2), np.array([[0.0, 0.5], [0.0, 1.0]]))
    1.0
    """
    if not len(document):
        return 0.0
    return float((query.astype(np.float64) @ document.astype(np.float64).T).max(axis=1).sum())


def token_metrics() -> tuple[Metric, ...]:
    """Return order_agreement, agreement, mean_cosine and logit_mse of outputs of the type `COMPARED`.

    The first two compare each row's query with the documents of the first 256 rows, whatever rows they belong to.
    order_agreement: of the pairs of documents, each weighted by how far apart float scores them for a query, the share
    that the engine orders as float does; one that it scores alike counts half. So what is a tie but for the last digits
    hardly counts: most documents have nothing to do with a query. agreement: the share of queries whose best document
    is float's. mean_cosine: of a token's vector to the float model's, over all tokens. logit_mse: the squared error of
    a row's own score.
    """
    order = Metric(
        name="order_agreement",
        direction=HIGHER,
        statistics=_over_queries(_same_order),
        formula="ratio",
        fidelity=True,
        whole_set=True,
        corpus=CORPUS_ROWS,
    )
    return (
        order,
        replace(order, name="agreement", statistics=_over_queries(_same_best)),
        replace(order, name="mean_cosine", statistics=_mean_cosine, whole_set=False, corpus=None, bounds=(-1.0, 1.0)),
        distance_metric("logit_mse", _squared_error),
    )


def scores_of_queries(outputs: NDArray[Any]) -> Iterator[Array]:
    """Yield each row's query compared with every row's document, as `max_sim` does: float64 [rows] each.

    Where a document stands decides the last bits of a product. They are rounded away, so that equal documents have
    equal scores.
    """
    documents = [tokens[1] for tokens in outputs["tokens"]]
    lengths = np.array([len(document) for document in documents])
    there = lengths > 0  # reduceat would give one without tokens a neighbour's
    starts = (np.cumsum(lengths) - lengths)[there]
    every = np.concatenate(documents).astype(np.float64).T
    for query, _ in outputs["tokens"]:
        scores = np.zeros(len(documents))
        products = query.astype(np.float64) @ every
        scores[there] = np.maximum.reduceat(products, starts, axis=1).sum(axis=0).astype(np.float32)
        yield scores


def _over_queries(judge: Callable[[Array, Array], tuple[float, float]]) -> Callable[[Any, Any], Array]:
    """Return statistics [rows, 2]: what `judge(float's scores, the engine's)` says of each row's query."""

    def statistics(reference: Any, outputs: Any) -> Array:
        both = zip(scores_of_queries(reference), scores_of_queries(outputs), strict=True)
        return np.array([judge(theirs, ours) for theirs, ours in both], np.float64).reshape(-1, 2)

    return statistics


def _same_order(theirs: Array, ours: Array) -> tuple[float, float]:
    apart = theirs[:, None] - theirs
    weight = float(np.abs(apart).sum())
    if np.isnan(ours).any():
        return np.nan, weight
    return float(0.5 * (np.abs(apart) + apart * np.sign(ours[:, None] - ours)).sum()), weight


def _same_best(theirs: Array, ours: Array) -> tuple[float, float]:
    return float(theirs[int(ours.argmax())] >= theirs.max()), 1.0


def _mean_cosine(reference: Any, outputs: Any) -> Array:
    def of_row(theirs: Sequence[Vectors], ours: Sequence[Vectors]) -> tuple[float, float]:
        values = [cosine(a, b) for a, b in zip(theirs, ours, strict=True)]
        return float(sum(each.sum() for each in values)), float(sum(map(len, values)))

    both = zip(reference["tokens"], outputs["tokens"], strict=True)
    return np.array([of_row(theirs, ours) for theirs, ours in both], np.float64).reshape(-1, 2)


def _squared_error(reference: Any, outputs: Any) -> Array:
    squared = (reference["score"].astype(np.float64) - outputs["score"]) ** 2
    return np.stack([squared, np.ones_like(squared)], -1)
