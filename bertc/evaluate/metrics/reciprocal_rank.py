"""Mean reciprocal rank (Voorhees, TREC-8 question answering track, 1999)."""

from __future__ import annotations

import numpy as np

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.ranking import Ties, name_at, ranking_metric, ranks_within


def mrr_metric(cutoff: int | None = 10) -> Metric:
    """Return MRR over the first `cutoff` ranks, None for all: 1 / (rank of the first relevant row), 0 if it is beyond.

    Among n rows of equal scores of which r are relevant, the first relevant one is the i-th with the probability
    C(n - i, r - 1) / C(n, r) (McSherry and Najork 2008, section 3).
    """

    def value(ties: Ties, relevance: Array) -> float:
        block = int(np.flatnonzero(ties.relevant)[0])
        before, size, relevant = (int(each[block]) for each in (ties.start, ties.size, ties.relevant))
        found, chance = 0.0, relevant / size
        for place in range(min(size - relevant + 1, ranks_within(cutoff, len(relevance)) - before)):
            found += chance / (before + place + 1)
            chance *= (size - place - relevant) / max(size - place - 1, 1)
        return found

    return ranking_metric(name_at("mrr", cutoff), value)
