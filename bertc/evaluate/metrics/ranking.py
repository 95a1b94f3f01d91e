"""Rows that are candidates for queries: their order by score, metrics of it per query, and its agreement with float.

A ranking metric is the mean over queries, each weighted alike; its statistics stand on a query's first row and are 0 on
the others, so that drawing queries draws whole rankings. The conventions are those of trec_eval and of TREC:

- A query without a relevant row is left out of every metric with labels, and counts nowhere.
- A row is relevant if its relevance is above 0 (trec_eval's `-l 1`); gains are the relevances themselves.
- Ties are neither won nor lost: a metric is the mean over all orders of the rows with equal scores (McSherry and
  Najork, ECIR 2008). trec_eval would order them by the document's name, which here is no more than the file's order,
  and a file that has the relevant rows first would make a model that scores everything alike perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric

GOLD = np.dtype([("relevance", np.float64), ("query", np.uint64)])
SCORES = np.dtype([("score", np.float32), ("query", np.uint64)])
"""Gold and outputs are structured arrays [rows]: what a row is worth, and the number of the query that it answers."""

AGREEMENT_AT = 10
"""Rows at the head of a ranking that have to stand in the float model's order: what a first page shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """A query's rows in blocks of equal scores, the highest first: [blocks] each.

    `start` is how many rows stand before a block, `size` how many are in it, `relevant` how many of them are relevant
    and `gain` their mean relevance.
    """

    start: NDArray[np.int64]
    size: NDArray[np.int64]
    relevant: NDArray[np.int64]
    gain: Array


def ranking_metric(name: str, value: Callable[[Ties, Array], float]) -> Metric:
    """Return the mean over queries of `value(ties, relevance)`, between 0 and 1. `relevance` are the query's rows'."""

    def of_query(gold: NDArray[Any], outputs: NDArray[Any]) -> float | None:
        relevance = gold["relevance"]
        if not (relevance > 0).any():
            return None
        scores = outputs["score"]
        return np.nan if np.isnan(scores).any() else value(ties_from_scores(scores, relevance), relevance)

    return _mean_of_queries(name, of_query)


def agreement_metrics() -> tuple[Metric, Metric]:
    """Return pair_agreement and agreement with the float model.

    pair_agreement: of the pairs of a query's rows that float does not score alike, the share that the engine orders as
    float does; a pair that the engine scores alike counts half. It is (tau + 1) / 2 of Kendall's tau where nothing is
    tied. agreement: the share of queries whose first ten rows are float's, in float's order; rows that float scores
    alike may stand in any order.
    """
    return (
        _mean_of_queries("pair_agreement", _same_pairs, fidelity=True),
        _mean_of_queries("agreement", _same_first, fidelity=True),
    )


def ties_from_scores(scores: NDArray[Any], relevance: Array) -> Ties:
    """Sort a query's rows into blocks of equal scores. Scores [n] without NaN."""
    values, block = np.unique(-scores, return_inverse=True)
    size = np.bincount(block, minlength=len(values))
    return Ties(
        start=np.cumsum(size) - size,
        size=size,
        relevant=np.bincount(block, relevance > 0, minlength=len(values)).astype(np.int64),
        gain=np.bincount(block, relevance, minlength=len(values)) / size,
    )


def queries_of(numbers: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """Yield each query's rows, in order. `numbers` [rows] says which query a row belongs to."""
    order = np.argsort(numbers, kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    yield from np.split(order, cuts) if len(order) else ()


def ranks_within(cutoff: int | None, ranks: int) -> int:
    """Return how many ranks of a query with so many rows a metric looks at."""
    return ranks if cutoff is None else min(cutoff, ranks)


def name_at(base: str, cutoff: int | None) -> str:
    """Return a metric's name: "ndcg@10", or "map" where all rows count."""
    return base if cutoff is None else f"{base}@{cutoff}"


def _mean_of_queries(
    name: str, of_query: Callable[[NDArray[Any], NDArray[Any]], float | None], *, fidelity: bool = False
) -> Metric:
    """Return the mean of what `of_query(gold, outputs)` says of each query; None leaves the query out."""

    def statistics(gold: NDArray[Any], outputs: NDArray[Any]) -> Array:
        found = np.zeros((len(outputs), 2))
        for rows in queries_of(outputs["query"]):
            value = of_query(gold[rows], outputs[rows])
            if value is not None:
                found[rows[0]] = value, 1.0
        return found

    return Metric(
        name=name,
        direction=HIGHER,
        statistics=statistics,
        formula="mean_of_queries",
        fidelity=fidelity,
        whole_set=fidelity,
    )


def _same_pairs(reference: NDArray[Any], outputs: NDArray[Any]) -> float | None:
    ours, theirs = outputs["score"], reference["score"]
    if np.isnan(ours).any():
        return np.nan
    agreeing = pairs = 0.0
    for row in range(len(ours) - 1):
        wanted = np.sign(theirs[row] - theirs[row + 1 :])
        told = wanted != 0
        pairs += told.sum()
        agreeing += 0.5 * (1 + wanted * np.sign(ours[row] - ours[row + 1 :]))[told].sum()
    return agreeing / pairs if pairs else None


def _same_first(reference: NDArray[Any], outputs: NDArray[Any]) -> float | None:
    ours, theirs = outputs["score"], reference["score"]
    if len(ours) < 2:
        return None
    order = np.lexsort((theirs, -ours))[:AGREEMENT_AT]  # rows that the engine alone scores alike: the worst order
    return float(np.array_equal(theirs[order], np.sort(theirs)[::-1][: len(order)]))
