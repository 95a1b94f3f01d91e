"""What a trial uses of its budget: margins, changed decisions, and budgets of nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bertc.errors import InputError
from bertc.evaluate.gates import Gate, limit_from_text
from bertc.evaluate.scores import Score
from bertc.search.judge import MOST, Judged, judged_from_comparison

SCORE = Score(
    metric="accuracy",
    direction="higher",
    samples=1000,
    truncated=0,
    reference=0.9,
    engine=0.9,
    drop=0.0,
    drop_ci95=(-0.002, 0.002),
    drop_error=0.001,
    reference_ci95=(0.88, 0.92),
    engine_ci95=(0.88, 0.92),
    agreement=1.0,
    logit_mse=0.01,
)


def judged(limit: str = "0.01abs", decide: Any = "point", **changes: Any) -> Judged:
    score = replace(SCORE, **changes)
    comparison: Any = SimpleNamespace(accuracy=score, scores=(score,))
    return judged_from_comparison(comparison, [Gate(score.metric, limit_from_text(limit))], decide=decide)


def test_the_drop_counts_with_its_error() -> None:
    assert judged(drop=0.004).used == pytest.approx(0.5)
    assert judged(drop=0.004, decide="bound").used == pytest.approx(0.596)
    assert judged(drop=0.009).passed
    assert not judged(drop=0.0095).passed


def test_a_lucky_gain_is_none() -> None:
    assert judged(drop=-0.02).used == judged(drop=0.0).used


def test_changed_decisions_count_where_the_metric_is_accuracy() -> None:
    assert judged(agreement=0.98).used == pytest.approx(2.0)
    assert judged(agreement=0.98, metric="f1").used == pytest.approx(0.1)


def test_rows_of_which_none_differs_are_known_to_one_row() -> None:
    assert judged(drop_ci95=(0.0, 0.0), drop_error=0.0).used == pytest.approx(0.1)


def test_a_budget_of_nothing() -> None:
    assert judged("0abs").used == MOST
    assert judged("0abs", drop_error=0.0).used == 0.0


def test_a_limit_may_be_a_part_of_the_reference() -> None:
    assert judged("1%", drop=0.008).used == pytest.approx(1.0)


def test_an_engine_whose_metric_is_not_defined_uses_all_of_any_budget() -> None:
    found = judged("100abs", engine=float("nan"), drop=float("nan"), drop_error=float("nan"))
    assert found.used == MOST and not found.passed


def test_a_budget_that_is_a_part_of_a_reference_of_0_is_refused_before_a_trial() -> None:
    with pytest.raises(InputError, match="relative to the reference's value, which is 0"):
        judged("1%", reference=0.0, engine=0.0)
    assert judged("0.01abs", reference=0.0, engine=0.0).passed
