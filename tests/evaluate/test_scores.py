"""The paired bootstrap and the scores that a report has."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.bootstrap import Sample, bootstrap_values, groups_from_names, interval
from bertc.evaluate.gates import Gate, drop_bounds, judge, limit_from_text
from bertc.evaluate.scores import Comparison, compare_outputs, scores_from_table
from bertc.report.schema import GatePart, MetricPart
from bertc.tasks import task_from_name
from tests.evaluate.toy import HEADS, INTENT, RANK, STARS, ToyEncoder, toy_raw, toy_rows

TASK = task_from_name("sequence-classification")


def compared(gold: list[int], reference: list[int], engine: list[int], **options: object) -> Comparison:
    rows = TASK.check_rows([row_from_texts(f"row {i}", label=label) for i, label in enumerate(gold)], INTENT)
    ids = np.array([1, 2], np.int64)
    features = [Feature(input_ids=ids, token_type_ids=ids, row=i, truncated=i < 3) for i in range(len(rows))]
    raw = [{"logits": list(np.eye(2, dtype=np.float32)[given])} for given in (reference, engine)]
    return compare_outputs(TASK, INTENT, rows, features, raw[0], raw[1], **options)  # type: ignore[arg-type]


GOLD = [0, 1] * 200
WORSE = [1 - label if index % 10 == 0 else label for index, label in enumerate(GOLD)]


def test_a_drop_is_positive_where_the_engine_is_worse() -> None:
    comparison = compared(GOLD, GOLD, WORSE, extra=["fpr[spam]", "recall[ham]"])
    scores = {score.metric: score for score in comparison.scores}
    assert comparison.accuracy.metric == "accuracy" and next(iter(scores)) == "accuracy"
    assert (scores["accuracy"].reference, scores["accuracy"].engine) == (1.0, 0.9)
    assert scores["accuracy"].drop == pytest.approx(0.1)
    assert scores["false_positive_rate[spam]"].drop == pytest.approx(0.2)
    assert scores["recall[ham]"].drop == pytest.approx(0.2)
    assert all(score.agreement == 0.9 and score.truncated == 3 for score in scores.values())
    better = compared(GOLD, WORSE, GOLD)
    assert better.accuracy.drop == pytest.approx(-0.1)


def test_the_interval_is_the_binomials() -> None:
    low, high = compared(GOLD, GOLD, WORSE).accuracy.drop_ci95
    half = 1.96 * math.sqrt(0.1 * 0.9 / 400)
    assert low == pytest.approx(0.1 - half, abs=0.005) and high == pytest.approx(0.1 + half, abs=0.005)
    assert compared(GOLD, GOLD, WORSE).accuracy.drop_error == pytest.approx(half / 1.96, rel=0.1)


def test_the_interval_is_paired_and_seeded() -> None:
    both = compared(GOLD, WORSE, WORSE).accuracy
    assert both.drop_ci95 == (0, 0) and both.reference_ci95[0] < both.reference_ci95[1]
    table = compared(GOLD, GOLD, WORSE).table
    first, again, other = (scores_from_table(table, seed=seed)["accuracy"] for seed in (7, 7, 8))
    assert first == again != other


def test_groups_are_drawn_whole() -> None:
    statistics = np.array([[0, 1], [0, 1], [1, 1], [1, 1]], np.float64)
    groups = groups_from_names(["a", "a", "b", "b"])
    values = bootstrap_values([Sample("ratio", statistics)], groups, resamples=500)
    assert set(values[0]) == {0.0, 0.5, 1.0}
    alone = bootstrap_values([Sample("ratio", statistics)], groups_from_names([""] * 4), resamples=500)
    assert set(alone[0]) == {0.0, 0.25, 0.5, 0.75, 1.0}


def test_ranked_metrics_follow_groups_as_well() -> None:
    random = np.random.default_rng(0)
    statistics = random.random((30, 2))
    groups = np.repeat(np.arange(10), 3)
    found = bootstrap_values([Sample("spearman", statistics)], groups, resamples=20, seed=3)[0]
    drawn = np.random.default_rng(3).integers(0, 10, (20, 10))
    stats = pytest.importorskip("scipy.stats")
    for value, units in zip(found, drawn, strict=True):
        rows = np.concatenate([np.flatnonzero(groups == unit) for unit in units])
        assert value == pytest.approx(stats.spearmanr(*statistics[rows].T).statistic, abs=1e-9)


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sample("ratio", np.random.default_rng(0).random((50, 2)) + 0.1)
    groups = np.arange(50)
    whole = bootstrap_values([sample], groups, resamples=100)
    monkeypatch.setattr("bertc.evaluate.bootstrap.BLOCK_VALUES", 350)
    assert np.allclose(whole, bootstrap_values([sample], groups, resamples=100))


def test_undefined_resamples_are_left_out() -> None:
    low, high = interval(np.array([np.nan, 0.1, 0.2, np.nan]))
    assert 0.1 <= low < high <= 0.2
    assert all(map(math.isnan, interval(np.array([np.nan]))))


def test_scores_are_what_the_report_takes() -> None:
    comparison = compared(GOLD, GOLD, WORSE)
    for score in comparison.scores:
        assert MetricPart.model_validate(score.as_dict()).metric == score.metric
    json.dumps(comparison.accuracy.as_dict(), allow_nan=False)


def test_an_agreement_that_is_not_defined_is_none() -> None:
    """With one row for each query there is nothing that float and engine could order in the same way."""
    task = task_from_name("text-ranking")
    rows = task.check_rows([row_from_texts("q", "t", label=1.0, group=f"query {i}") for i in range(8)], RANK)
    ids = np.array([1, 2], np.int64)
    features = [Feature(input_ids=ids, token_type_ids=ids, row=i) for i in range(8)]
    raw = {"logits": [np.array([score], np.float32) for score in range(8)]}
    score = compare_outputs(task, RANK, rows, features, raw, raw).accuracy
    assert score.agreement is None and score.logit_mse == 0.0
    assert MetricPart.model_validate(score.as_dict()).agreement is None


def test_a_metric_that_is_asked_for_must_be_defined() -> None:
    with pytest.raises(InputError, match=r"'recall\[spam\]' is not defined"):
        compared([0] * 10, [0] * 10, [0] * 10, extra=["recall[spam]"])
    assert compared([0] * 10, [0] * 10, [0] * 10).accuracy.reference == 1


def scored(gold: list[float], reference: list[float], engine: list[float]) -> Comparison:
    rows = TASK.check_rows([row_from_texts(f"row {i}", label=label) for i, label in enumerate(gold)], STARS)
    ids = np.array([1, 2], np.int64)
    features = [Feature(input_ids=ids, token_type_ids=ids, row=i) for i in range(len(rows))]
    raw = [{"logits": [np.array([value], np.float32) for value in given]} for given in (reference, engine)]
    return compare_outputs(TASK, STARS, rows, features, raw[0], raw[1])


LADDER = [index / 10 for index in range(30)]


def test_a_constant_engine_has_no_correlation_and_passes_no_gate() -> None:
    found = scored(LADDER, LADDER, [0.5] * 30)
    assert found.accuracy.metric == "pearson" and found.accuracy.reference == pytest.approx(1)
    assert math.isnan(found.accuracy.engine) and math.isnan(found.accuracy.drop)
    part = MetricPart.model_validate(found.accuracy.as_dict())
    assert part.engine is None and part.drop is None and part.drop_ci95 is None
    for decide in ("point", "bound"):
        verdict = judge(found.scores, [Gate("pearson", limit_from_text("100abs"))], decide=decide)  # type: ignore[arg-type]
        assert not verdict.passed and "not defined for the engine" in verdict.summary
        assert GatePart.model_validate(verdict.gates[0].as_dict()).value is None
    near = scored(LADDER, LADDER, [0.5] * 29 + [0.6])
    assert math.isfinite(near.accuracy.drop)
    assert judge(near.scores, [Gate("pearson", limit_from_text("2abs"))]).passed


def test_a_constant_reference_is_refused() -> None:
    with pytest.raises(InputError, match="'pearson' is not defined for the float model"):
        scored(LADDER, [0.5] * 30, LADDER)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_intervals_lie_within_what_is_possible(head: Head) -> None:
    task = task_from_name(head.task)
    bounds = {metric.name: metric.bounds for metric in (*task.metrics(head), *task.fidelity(head))}
    for seed in range(12):
        random = np.random.default_rng(seed)
        rows = task.check_rows(toy_rows(head, int(random.integers(3, 9)), seed=seed), head)
        features = task.features_from_rows(rows, ToyEncoder(), 32)
        noise = random.choice([0.0, 0.1, 3.0])
        raw = [toy_raw(head, features, noise=n, seed=seed) for n in (0.0, noise)]
        for score in compare_outputs(task, head, rows, features, *raw, resamples=60).scores:
            low, high = bounds[score.metric]
            most = high - low
            for interval_of, limits in (
                (score.reference_ci95, (low, high)), (score.engine_ci95, (low, high)),
                (score.drop_ci95, (-most, most)), (drop_bounds(score), (-most, most)),
            ):  # fmt: skip
                known = [end for end in interval_of if not math.isnan(end)]
                assert all(limits[0] <= end <= limits[1] for end in known), (score, interval_of)


def test_a_drop_of_more_than_everything_is_not_possible() -> None:
    two = compared([0, 1], [0, 1], [0, 1]).accuracy
    assert two.drop_ci95 == (0, 0) and drop_bounds(two) == (0, 1)
    assert drop_bounds(replace(two, largest_drop=math.inf)) == (0, 1.5)
    error = scored(LADDER, LADDER, LADDER)
    assert {score.metric: score.largest_drop for score in error.scores}["mse"] == math.inf
