"""Mean average precision (Buckley and Voorhees, SIGIR 2000; trec_eval's `map` and `map_cut`)."""

from __future__ import annotations

import numpy as np

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.ranking import Ties, name_at, ranking_metric, ranks_within


def map_metric(cutoff: int | None = None) -> Metric:
    """Return MAP over the first `cutoff` ranks, None for all.

        AP = 1 / (relevant rows) * sum over the ranks r of relevant rows of (relevant rows among the first r) / r

    All relevant rows of the query count below the line, those beyond the cutoff too. The i-th of n rows of equal
    scores, of which m are relevant, is so with the probability m / n, and then (i - 1) (m - 1) / (n - 1) of the rows
    before it in its block are expected to be (McSherry and Najork 2008, section 3).
    """

    def value(ties: Ties, relevance: Array) -> float:
        ranks = np.arange(1, len(relevance) + 1)
        start, size, relevant = (np.repeat(each, ties.size) for each in (ties.start, ties.size, ties.relevant))
        before = np.repeat(np.cumsum(ties.relevant) - ties.relevant, ties.size)
        within = (ranks - start - 1) * (relevant - 1) / np.maximum(size - 1, 1)
        precision = relevant / size * (before + within + 1) / ranks
        return float(precision[: ranks_within(cutoff, len(ranks))].sum() / ties.relevant.sum())

    return ranking_metric(name_at("map", cutoff), value)
