"""Metrics of rankings: trec_eval's and scikit-learn's values, ties, queries that do not count, agreement in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from bertc.evaluate.metrics.average_precision import map_metric
from bertc.evaluate.metrics.ndcg import ndcg_metric
from bertc.evaluate.metrics.ranking import GOLD, SCORES, agreement_metrics
from bertc.evaluate.metrics.reciprocal_rank import mrr_metric

PAIRS, FIRST = agreement_metrics()
RELEVANCE = (0, 2, 0, 1, 3, 0, 0, 0, 1, 0, 2, 0)
SCORED = (0.1, 0.9, 1.2, 0.4, 0.3, -2.0, 1.5, 0.0, 0.8, -1.0, 0.2, 0.7)


def gold(relevance: Sequence[float], queries: Sequence[int] | None = None) -> Any:
    found = np.zeros(len(relevance), GOLD)
    found["relevance"], found["query"] = relevance, queries or 0
    return found


def scores(values: Sequence[float], queries: Sequence[int] | None = None) -> Any:
    found = np.zeros(len(values), SCORES)
    found["score"], found["query"] = values, queries or 0
    return found


@pytest.mark.parametrize(
    ("metric", "told"),
    [  # pytrec_eval-terrier 0.5.11: ndcg_cut_3, ndcg_cut_10, ndcg, recip_rank, map, map_cut_3
        (ndcg_metric(3), 0.19004688335796713),
        (ndcg_metric(10), 0.5621968869668659),
        (ndcg_metric(None), 0.5621968869668659),
        (mrr_metric(None), 0.3333333333333333),
        (map_metric(None), 0.5059523809523809),
        (map_metric(3), 0.06666666666666667),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_values_are_those_of_trec_eval(metric: Any, told: float) -> None:
    assert metric.value(gold(RELEVANCE), scores(SCORED)) == pytest.approx(told, abs=1e-12)


def test_a_first_relevant_row_beyond_the_cutoff_scores_nothing() -> None:
    assert mrr_metric(2).value(gold([0, 0, 1]), scores([3, 2, 1])) == 0
    assert mrr_metric(3).value(gold([0, 0, 1]), scores([3, 2, 1])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("cutoff", [1, 2, None])
def test_ties_are_the_mean_over_their_orders(cutoff: int | None) -> None:
    relevance, values = np.array([2, 0, 1, 0, 0, 1]), np.array([1, 1, 1, 0, 0, 0])
    orders = [order for order in permutations(range(6)) if list(values[list(order)]) == sorted(values)[::-1]]
    for metric in (ndcg_metric(cutoff), mrr_metric(cutoff), map_metric(cutoff)):
        each = []
        for order in orders:
            untied = np.empty(6)
            untied[list(order)] = np.arange(6, 0, -1)
            each.append(metric.value(gold(relevance), scores(untied)))
        assert metric.value(gold(relevance), scores(values)) == pytest.approx(np.mean(each))


def test_a_file_that_has_the_relevant_rows_first_makes_no_model_perfect() -> None:
    alike = scores(np.zeros(10))
    for metric in (ndcg_metric(), mrr_metric(), map_metric()):
        assert metric.value(gold([1] + [0] * 9), alike) == metric.value(gold([0] * 9 + [1]), alike) < 0.5


def test_queries_count_alike_and_one_without_a_relevant_row_not_at_all() -> None:
    queries = [7, 8, 7, 9, 8, 7, 9]
    metric = mrr_metric()
    statistics = metric.statistics(gold([1, 0, 0, 0, 1, 0, 0], queries), scores([3, 2, 1, 0, 1, 5, 6], queries))
    assert statistics.tolist() == [[0.5, 1], [0.5, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert np.isnan(metric.value(gold([0, 0]), scores([1, 2]))), "no query counts: not defined"


def test_scores_that_are_no_numbers_have_no_order() -> None:
    broken = scores([np.nan, 1, 2])
    for metric in (ndcg_metric(), mrr_metric(), map_metric()):
        assert np.isnan(metric.value(gold([0, 1, 0]), broken))
    assert np.isnan(PAIRS.value(scores([1, 2, 3]), broken))


@pytest.mark.parametrize(
    ("engine", "pairs", "first"),
    [
        ([4.0, 3.0, 2.0, 1.0], 1.0, 1.0),
        ([40.0, 3.0, 2.5, 2.4], 1.0, 1.0),
        ([3.0, 4.0, 2.0, 1.0], 5 / 6, 0.0),
        ([1.0, 2.0, 3.0, 4.0], 0.0, 0.0),
        ([1.0, 1.0, 1.0, 1.0], 0.5, 0.0),
    ],
)
def test_agreement_is_that_of_the_order(engine: list[float], pairs: float, first: float) -> None:
    reference = scores([4.0, 3.0, 2.0, 1.0])
    assert PAIRS.value(reference, scores(engine)) == pytest.approx(pairs)
    assert FIRST.value(reference, scores(engine)) == first


def test_rows_that_float_scores_alike_may_stand_in_any_order() -> None:
    reference, engine = scores([2.0, 2.0, 1.0]), scores([3.0, 4.0, 1.0])
    assert PAIRS.value(reference, engine) == FIRST.value(reference, engine) == 1
    assert np.isnan(PAIRS.value(scores([1.0, 1.0]), scores([1.0, 2.0]))), "there is nothing to order"


def test_only_the_first_ten_rows_have_to_stand_in_order() -> None:
    reference = scores(np.arange(20, 0, -1))
    below, within = np.arange(20.0, 0, -1), np.arange(20.0, 0, -1)
    below[[15, 16]], within[[8, 9]] = below[[16, 15]], within[[9, 8]]
    assert FIRST.value(reference, scores(below)) == 1 and FIRST.value(reference, scores(within)) == 0
