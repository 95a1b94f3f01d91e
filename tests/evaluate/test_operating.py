"""Thresholds that restore the float model's operating point."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.core.head import Head
from bertc.evaluate.metric import metric_from_name
from bertc.evaluate.operating import OperatingPoint, operating_point, operating_points
from bertc.report.schema import OperatingPoint as ReportPoint
from bertc.tasks import task_from_name
from tests.evaluate.toy import INTENT, MULTI, TOPIC

TASK = task_from_name("sequence-classification")
RANDOM = np.random.default_rng(0)
GOLD = RANDOM.integers(0, 2, 400)
FLOAT = (np.stack([-GOLD, GOLD], -1) + RANDOM.standard_normal((400, 2))).astype(np.float32)
ENGINE = (FLOAT + np.array([0.0, 0.4])).astype(np.float32)  # says spam too easily


def point(
    name: str, engine: np.ndarray = ENGINE, head: Head = INTENT, gold: np.ndarray = GOLD
) -> OperatingPoint | None:
    return operating_point(metric_from_name(TASK, head, name), head, gold, FLOAT, engine)


@pytest.mark.parametrize("name", ["fpr[spam]", "recall[spam]", "fpr[spam]@0.7", "recall[ham]", "recall[ham]@0.2"])
def test_the_restored_threshold_gives_floats_value(name: str) -> None:
    found = point(name)
    assert found is not None and found.reference != found.engine
    assert found.restored == pytest.approx(found.reference) and found.restored_threshold is not None
    assert ReportPoint.model_validate(found.as_dict()).metric == found.metric


def test_the_shift_is_found() -> None:
    found = point("fpr[spam]@0.5")
    # A shift of 0.4 in the logit moves the probability 0.5 to sigmoid(0.4) = 0.599.
    assert found is not None and found.restored_threshold == pytest.approx(0.599, abs=0.02)


def test_what_has_no_threshold_has_no_point() -> None:
    assert point("precision[spam]") is None and point("accuracy") is None
    wide = np.zeros((400, 3), np.float32)
    metric = metric_from_name(TASK, TOPIC, "recall[bank]")
    assert operating_point(metric, TOPIC, GOLD, wide, wide) is None
    with_threshold = metric_from_name(TASK, TOPIC, "recall[bank]@0.3")
    assert operating_point(with_threshold, TOPIC, GOLD, wide, wide) is not None


def test_several_labels_have_points() -> None:
    gold = RANDOM.random((400, 3)) < 0.5
    reference = (gold + RANDOM.standard_normal((400, 3)) - 0.5).astype(np.float32)
    metrics = [metric_from_name(TASK, MULTI, name) for name in ("micro_f1", "fpr[a]", "recall[b]")]
    found = operating_points(metrics, MULTI, gold, reference, reference - np.float32(0.3))
    assert [p.metric for p in found] == ["false_positive_rate[a]", "recall[b]"]
    assert all(p.restored == pytest.approx(p.reference) for p in found)


def test_extremes_and_ties() -> None:
    same = np.zeros((400, 2), np.float32)  # every score is 0.5: no threshold separates anything
    found = point("fpr[spam]@0.6", same)
    assert found is not None and found.restored is not None and found.restored <= found.reference
    none = operating_point(
        metric_from_name(TASK, INTENT, "fpr[spam]"), INTENT, GOLD, -10 * np.eye(2)[[1] * 400], ENGINE
    )
    assert none is None or none.reference in (0.0, 1.0)
    assert operating_point(metric_from_name(TASK, INTENT, "recall[spam]"), INTENT, 0 * GOLD, FLOAT, ENGINE) is None
