"""Normalised discounted cumulative gain (Järvelin and Kekäläinen, ACM TOIS 20(4), 2002)."""

from __future__ import annotations

import numpy as np

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.ranking import Ties, name_at, ranking_metric, ranks_within


def ndcg_metric(cutoff: int | None = 10) -> Metric:
    """Return nDCG over the first `cutoff` ranks, None for all.

        DCG@k = sum over ranks r <= k of gain(r) / log2(1 + r),   nDCG@k = DCG@k / (DCG@k of the best order)

    A gain is the relevance itself, as in the paper and in trec_eval (not 2^relevance - 1, which is Burges
    et al. 2005). The discount is trec_eval's and scikit-learn's; the paper's own leaves the ranks below its base
    undiscounted. Rows with equal scores share their ranks' discounts.
    """

    def value(ties: Ties, relevance: Array) -> float:
        ranks = ranks_within(cutoff, len(relevance))
        discounts = np.zeros(len(relevance) + 1)
        discounts[1 : ranks + 1] = 1.0 / np.log2(np.arange(2, ranks + 2))
        upto = discounts.cumsum()  # of the first r ranks
        gained = float(ties.gain @ (upto[ties.start + ties.size] - upto[ties.start]))
        return gained / float(np.sort(relevance)[::-1] @ discounts[1:])

    return ranking_metric(name_at("ndcg", cutoff), value)
